"""Verifies grants as an offline device does: with the public keys alone (JWT, RFC 7519; EdDSA)."""

from __future__ import annotations

import jwt
import msgspec

from lapel.simulate.client.caller import Caller

_ISSUER = "lapel"


class _Keys(msgspec.Struct):
    keys: list[dict[str, str]]


class Keyring:
    """The server's public keys, fetched at the first grant and at each grant that names an unknown key."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._keys: dict[str, jwt.PyJWK] = {}

    async def fault_of(self, grant: str, device_id: str, serial_number: str, jti: str | None) -> str | None:
        """Why a device must not obey a grant; None if it may obey.

        `jti`: id of the command that the grant must name; None allows any command. Raises CallFailed when the
        public keys cannot be fetched, and SimulationError when they do not have the contract's shape.
        """
        try:
            kid = str(jwt.get_unverified_header(grant).get("kid"))
            if kid not in self._keys:
                await self._fetch()
            if kid not in self._keys:
                return f"there is no public key {kid}"
            claims = jwt.decode(
                grant,
                self._keys[kid],
                algorithms=["EdDSA"],
                issuer=_ISSUER,
                audience=f"device:{serial_number}",
                options={"require": ["exp", "iat", "jti", "sub"]},
                leeway=5,
            )
        except jwt.PyJWTError as fault:
            return f"{type(fault).__name__}: {fault}"
        if claims["sub"] != device_id:
            return f"it is for the device {claims['sub']}"
        if jti is not None and claims["jti"] != jti:
            return f"it is for the command {claims['jti']}"
        return None

    async def _fetch(self) -> None:
        answer = await self._caller.api("keys", "GET", "/keys/jwks.json", None)
        self._keys = {each["kid"]: jwt.PyJWK(dict(each)) for each in answer.read(_Keys).keys}
