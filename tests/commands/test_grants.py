"""Grants, read as a device would: by another library, offline, with the public keys alone."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidClaimError, JoseError
from joserfc.jwk import KeySet

from lapel.foundation.core.clock import ManualClock
from lapel.slices.commands.wire import GrantClaims
from tests.commands.support import Wearer
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import make_tenant

# The contract's name of the algorithm; RFC 9864 prefers `Ed25519` since, which fewer libraries know.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")

OLD, NEW, NEWEST = (f"the-{name}-secret-of-this-installation" for name in ("old", "new", "newest"))


async def key_set(wearer: Wearer) -> KeySet:
    """What a device fetches once, and keeps."""
    answer = await wearer.client.get("/v1/keys/jwks.json")
    assert answer.status_code == 200
    return KeySet.import_key_set(answer.json())


def verified(token: str, keys: KeySet, wearer: Wearer, now: datetime) -> dict[str, Any]:
    """The claims of a grant for this device. Raises what is wrong with it."""
    found = jwt.decode(token, keys, algorithms=["EdDSA"])
    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        iss={"essential": True, "value": "lapel"},
        sub={"essential": True, "value": wearer.device_id},
        aud={"essential": True, "value": f"device:{wearer.serial_number}"},
        exp={"essential": True},
    )
    rules.validate(found.claims)
    return found.claims


async def test_a_commands_grant_says_who_is_to_do_what_until_when(wearer: Wearer) -> None:
    params = {"max_duration_sec": 60, "upload_immediately": False, "metadata": {"é": [1, {"a": None}]}}
    made = await wearer.tell(params=params, ttl_seconds=120)
    claims = verified(made["grant_token"], await key_set(wearer), wearer, wearer.clock.now())
    issued = int(wearer.clock.now().timestamp())
    assert claims == {
        "iss": "lapel",
        "sub": wearer.device_id,
        "aud": f"device:{wearer.serial_number}",
        "jti": made["id"],
        "iat": issued,
        "exp": issued + 120,
        "type": "start_recording",
        "params": params,
        "project": wearer.tenant.project_id,
        "world": "test",
        "binding_generation": 1,
    }
    assert datetime.fromisoformat(made["expires_at"]).timestamp() >= claims["exp"]


async def test_a_grant_is_the_same_whenever_it_is_read(wearer: Wearer) -> None:
    params = {"metadata": {"b": [1.50, 1e3], "a": {"é": None}, "c": 10**20}}
    made = await wearer.tell(params=params)
    seen = {made["grant_token"], (await wearer.read(made["id"]))["grant_token"]}
    seen.add((await wearer.list())[0]["grant_token"])
    wearer.wait(seconds=10)
    beat = await wearer.ask("POST", "/heartbeat", 200, {}, wearer.token)
    seen.add(beat["commands"][0]["grant_token"])
    assert beat["commands"] == await wearer.poll()
    seen.add((await wearer.poll())[0]["grant_token"])
    seen.add((await wearer.report(made["id"]))["grant_token"])
    assert seen == {made["grant_token"]}


async def test_a_grant_that_has_expired_is_refused(wearer: Wearer) -> None:
    made = await wearer.tell(ttl_seconds=30)
    keys = await key_set(wearer)
    wearer.wait(seconds=31)
    with pytest.raises(ExpiredTokenError):
        verified(made["grant_token"], keys, wearer, wearer.clock.now())


async def test_a_grant_is_good_for_one_device(wearer: Wearer) -> None:
    other = await wearer.beside()
    made = await wearer.tell()
    with pytest.raises(InvalidClaimError):
        verified(made["grant_token"], await key_set(wearer), other, wearer.clock.now())


async def test_the_same_serial_number_in_another_project_gives_another_subject(
    wearer: Wearer, timed: Running
) -> None:
    """Anybody may register any serial number in a project of their own: `sub` is what tells them apart."""
    theirs = await make_tenant(timed.ports)
    body = {"serial_number": wearer.serial_number}
    made = await wearer.client.post("/v1/devices", json=body, headers=theirs.headers)
    path = f"/v1/devices/{made.json()['id']}/wifi-config/grant"
    grant = await wearer.client.post(path, headers=theirs.headers)
    with pytest.raises(InvalidClaimError, match="sub"):
        verified(grant.json()["grant_blob"], await key_set(wearer), wearer, wearer.clock.now())


def flipped(token: str, at: int) -> str:
    """The token with one bit of its `at`-th byte changed; base64 without padding has room for such."""
    parts = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[at] + "=="))
    raw[len(raw) // 2] ^= 1
    parts[at] = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    return ".".join(parts)


async def test_a_grant_that_was_tampered_with_is_refused(wearer: Wearer) -> None:
    token = (await wearer.tell("stop_recording"))["grant_token"]
    keys, now = await key_set(wearer), wearer.clock.now()
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = json.dumps({**claims, "type": "factory_reset"}).encode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for wrong in (
        flipped(token, 0),
        flipped(token, 1),
        flipped(token, 2),
        f"{head}.{base64.urlsafe_b64encode(forged).decode().rstrip('=')}.{signature}",
        f"{none}.{payload}.",
        f"{head}.{payload}.",
        f"{head}.{payload}",
    ):
        with pytest.raises((JoseError, ValueError)):
            verified(wrong, keys, wearer, now)
    assert verified(token, keys, wearer, now)["type"] == "stop_recording"


def test_every_claim_is_told() -> None:
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    told = {
        name
        for row in re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", text, re.MULTILINE)
        for name in row.split(", ")
    }
    assert {f"`{name}`" for name in GrantClaims.__struct_fields__} <= told


async def test_the_public_keys_need_no_token_and_hold_nothing_secret(wearer: Wearer) -> None:
    answer = await wearer.client.get("/v1/keys/jwks.json")
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("OKP", "Ed25519", "EdDSA", "sig")
    (imported,) = (await key_set(wearer)).keys
    assert imported.thumbprint() == key["kid"]
    assert not imported.is_private
    token = (await wearer.tell())["grant_token"]
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==")) == {
        "alg": "EdDSA",
        "kid": key["kid"],
        "typ": "JWT",
    }


async def test_a_wifi_grant_allows_one_thing_for_a_while(wearer: Wearer) -> None:
    keys = await key_set(wearer)
    issued = int(wearer.clock.now().timestamp())
    seen: set[str] = set()
    for body, seconds in (({}, 900), ({"expires_in_seconds": 60}, 60), ({"expires_in_seconds": 3600}, 3600)):
        grant = await wearer.ask("POST", "/wifi-config/grant", 200, body)
        assert set(grant) == {"grant_blob", "expires_at"}
        claims = verified(grant["grant_blob"], keys, wearer, wearer.clock.now())
        assert (claims["type"], claims["params"]) == ("wifi_config", {})
        assert (claims["iat"], claims["exp"]) == (issued, issued + seconds)
        assert datetime.fromisoformat(grant["expires_at"]).timestamp() == claims["exp"]
        seen.add(claims["jti"])
    assert len(seen) == 3
    assert await wearer.list() == []


@pytest.mark.parametrize("seconds", [59, 3601, 0, -1, 60.5, "900"])
async def test_a_wifi_grant_lives_a_minute_to_an_hour(wearer: Wearer, seconds: object) -> None:
    refused = await wearer.ask("POST", "/wifi-config/grant", 400, {"expires_in_seconds": seconds})
    assert refused["error"]["param"] == "expires_in_seconds"


async def test_a_device_that_nobody_wears_yet_can_be_given_wifi(wearer: Wearer) -> None:
    await wearer.unbind()
    grant = await wearer.ask("POST", "/wifi-config/grant", 200)
    assert verified(grant["grant_blob"], await key_set(wearer), wearer, wearer.clock.now())


async def test_grants_outlive_one_change_of_the_secret(
    fresh_database: str, tmp_path: Path, clock: ManualClock
) -> None:
    async def begun(live: Running) -> Wearer:
        return await Wearer.begin(api_client(live.url), await make_tenant(live.ports), clock)

    folder = tmp_path / "data"
    async with running(folder, fresh_database, clock=clock, LAPEL_SECRET=OLD) as live:
        wearer = await begun(live)
        made = await wearer.tell(ttl_seconds=86_400)
        first = await key_set(wearer)
        await wearer.client.aclose()
    old = {"LAPEL_SECRET": NEW, "LAPEL_SECRET_PREVIOUS": OLD}
    async with (
        running(folder, fresh_database, clock=clock, **old) as live,
        api_client(live.url) as wearer.client,
    ):
        second = await key_set(wearer)
        again = (await wearer.read(made["id"]))["grant_token"]
    assert len(second.keys) == 2
    assert verified(made["grant_token"], second, wearer, clock.now())
    assert verified(again, second, wearer, clock.now()) == verified(
        made["grant_token"], first, wearer, clock.now()
    )
    assert again != made["grant_token"]
    with pytest.raises((JoseError, ValueError)):  # a device that has not fetched the keys since
        verified(again, first, wearer, clock.now())
    older = {"LAPEL_SECRET": NEWEST, "LAPEL_SECRET_PREVIOUS": NEW}
    async with (
        running(folder, fresh_database, clock=clock, **older) as live,
        api_client(live.url) as wearer.client,
    ):
        third = await key_set(wearer)
    with pytest.raises((JoseError, ValueError)):
        verified(made["grant_token"], third, wearer, clock.now())
    with pytest.raises(BadSignatureError):
        jwt.decode(made["grant_token"], third.keys[0], algorithms=["EdDSA"])
