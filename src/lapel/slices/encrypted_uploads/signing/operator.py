"""The operator's functions for signing keys, for the command line. The server may run or be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.errors import NotFound
from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.signing import signing_key_queries
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys, can_open
from lapel.slices.projects.service import Projects

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.signing.signing_key_queries import PublicKeyRow

State = Literal["prepared", "active", "retired"]


class SigningKeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key, as the operator sees it: its public part.

    `public_key`: x and y in hexadecimal, 128 digits. `public_key_pem`: the same key as PEM.
    `readable`: whether the private key can be decrypted; null for a retired key, which has none.
    """

    project_id: str
    key_id: int
    state: State
    readable: bool | None
    public_key: str
    public_key_pem: str
    created_at: str
    activated_at: str | None
    retired_at: str | None


class OperatorSigningKeys:
    """The signing keys of one project, or of all projects.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, *, project_id: str | None = None) -> None:
        self._ports = ports
        self._project_id = project_id
        self._keys = SigningKeys(ports)

    async def list(self) -> list[SigningKeyShown]:
        """The keys of the project, or of all projects: project by project, oldest first.

        Raises NotFound when there is no such project.
        """
        projects = [each.id for each in await Projects(self._ports).list()]
        if self._project_id is not None and self._project_id not in projects:
            raise NotFound("There is no project with this id.", param="project_id")
        wanted = projects if self._project_id is None else [self._project_id]
        async with self._ports.database.acquire() as connection:
            opened = {
                (row.project_id, row.key_id): can_open(self._ports.sealer, row)
                async for sealed in signing_key_queries.walk_sealed_keys(connection)
                for row in sealed
            }
            rows = [row for each in wanted for row in await self._keys.list(connection, each)]
        return [_shown(row, opened.get((row.project_id, row.key_id))) for row in rows]

    async def prepare(self) -> SigningKeyShown:
        """Make the key that the next rotation activates, unless there is one.

        Raises NotFound when the project is unknown or no project exists, and Conflict when no project is
        named and there are several.
        """
        project_id = await Projects(self._ports).named(self._project_id)
        async with self._ports.database.transaction() as connection:
            key_id = await self._keys.prepare(connection, project_id)
        return await self._read(project_id, key_id)

    async def rotate(self) -> SigningKeyShown:
        """Retire the active key, and activate the prepared key, or else a new one. Raises as `prepare`."""
        project_id = await Projects(self._ports).named(self._project_id)
        async with self._ports.database.transaction() as connection:
            key_id = await self._keys.rotate(connection, project_id)
        return await self._read(project_id, key_id)

    async def _read(self, project_id: str, key_id: int) -> SigningKeyShown:
        found = await OperatorSigningKeys(self._ports, project_id=project_id).list()
        return next(each for each in found if each.key_id == key_id)


def _shown(row: PublicKeyRow, readable: bool | None) -> SigningKeyShown:
    key = signatures.public_key_of_raw(row.public_key)
    state: State = "active" if row.activated_at else "prepared"
    return SigningKeyShown(
        project_id=row.project_id,
        key_id=row.key_id,
        state="retired" if row.retired_at else state,
        readable=readable,
        public_key=row.public_key.hex(),
        public_key_pem=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        created_at=timestamp(row.created_at),
        activated_at=timestamp_or_none(row.activated_at),
        retired_at=timestamp_or_none(row.retired_at),
    )
