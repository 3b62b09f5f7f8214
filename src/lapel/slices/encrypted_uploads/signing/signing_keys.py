"""Signing keys: with them the server signs authorizations and receipts for the devices of a project.

A key is a key of ECDSA on P-256. Devices know its public key by its number, which counts from 1 in each
project. A key is prepared, active or retired. A project has at most one active key, which signs, and at most
one prepared key, which is the next to sign. A retired key signs nothing more: its private key is deleted. Its
public key stays for ever, so that old receipts can be verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.foundation.database import audit
from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.identity.sealed_values import SealedValue
from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.signing import signing_key_queries
from lapel.slices.encrypted_uploads.signing.signing_key_queries import SealedKeyRow
from lapel.slices.projects.service import list_worlds, lock_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.signing.signing_key_queries import PublicKeyRow

# Each lost race means that another transaction has made or retired a key meanwhile.
_TRIES = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The active key of a project."""

    key_id: int
    private_key: EllipticCurvePrivateKey = field(repr=False)


class SigningKeys:
    """The signing keys of projects."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def active(self, connection: Connection, project_id: str) -> SigningKey:
        """The key that signs for a project. Makes the first key, in the caller's transaction.

        The caller must be in a transaction. A rotation waits until this transaction ends, so no document is
        signed with a key that is retired. A caller that also needs `UploadPolicies.current` calls `active`
        first: two callers with different orders could wait for each other.

        Raises Unavailable when the key was sealed under a secret that is not loaded, and when other
        transactions keep rotating the key.
        """
        for _ in range(_TRIES):
            row = await signing_key_queries.find_active(connection, project_id)
            if row is not None:
                return self._opened(row)
            made = await self._make(connection, project_id, active=True)
            if made is not None:
                change = _change("signing_key.created", made.key_id, None)
                await self._record(connection, project_id, change, audit.System("encrypted_uploads"))
                return made
        raise Unavailable("The signing key of this project is being rotated. Repeat the request.")

    async def list(self, connection: Connection, project_id: str) -> list[PublicKeyRow]:
        """The public keys of a project, retired ones too, oldest first."""
        return await signing_key_queries.list_of_project(connection, project_id)

    async def prepare(self, connection: Connection, project_id: str) -> int:
        """Make the key that the next rotation activates, so that devices can learn it before.

        For the operator. Returns its number. If there is a prepared key, it stays. In a project without a
        key, the new key is active at once. Raises NotFound when there is no such project.
        """
        await self._lock(connection, project_id)
        while True:
            rows = await signing_key_queries.list_of_project(connection, project_id)
            prepared = [row.key_id for row in rows if row.activated_at is None]
            if prepared:
                return prepared[0]
            made = await self._make(connection, project_id, active=not rows)
            if made is not None:
                action = "signing_key.prepared" if rows else "signing_key.created"
                await self._record(connection, project_id, _change(action, made.key_id, None), None)
                return made.key_id

    async def rotate(self, connection: Connection, project_id: str) -> int:
        """Retire the active key, if there is one, and activate the prepared key, or else a new one.

        For the operator. Returns the number of the key that is active now. Needs no private key, so a key
        that cannot be read any more can be replaced. Raises NotFound when there is no such project.
        """
        await self._lock(connection, project_id)
        now, retired = self._ports.clock.now(), None
        while True:
            retired = await signing_key_queries.retire(connection, project_id, now) or retired
            key_id = await signing_key_queries.activate(connection, project_id, now)
            if key_id is None:
                # This fails only if the project had no key, and another transaction has made the first.
                made = await self._make(connection, project_id, active=True)
                key_id = None if made is None else made.key_id
            if key_id is not None:
                action = "signing_key.created" if retired is None else "signing_key.rotated"
                await self._record(connection, project_id, _change(action, key_id, retired), None)
                return key_id

    async def _lock(self, connection: Connection, project_id: str) -> None:
        """Let prepared keys and rotations of a project come one after the other. Raises NotFound."""
        if await lock_world(connection, project_id, "live") is None:
            raise NotFound("There is no project with this id.", param="project_id")

    async def _make(self, connection: Connection, project_id: str, *, active: bool) -> SigningKey | None:
        """A new key; None if another transaction has made one meanwhile."""
        key_id = await signing_key_queries.next_key_id(connection, project_id)
        private, now = signatures.new_private_key(), self._ports.clock.now()
        key = signatures.private_key(private)
        row = SealedKeyRow(project_id, key_id, signatures.public_raw(key.public_key()), None)
        row = msgspec.structs.replace(row, sealed_private_key=_sealed(self._ports.sealer, row, private))
        done = await signing_key_queries.insert(connection, row, now, now if active else None)
        return SigningKey(key_id, key) if done else None

    def _opened(self, row: SealedKeyRow) -> SigningKey:
        try:
            return SigningKey(row.key_id, opened_key(self._ports.sealer, row))
        except SealBroken:
            _log.error("signing_key.unreadable", project=row.project_id, key=row.key_id)
            raise Unavailable(
                "The signing key of this project was sealed under a secret that is not loaded. The operator "
                "finds the remedy with `lapel doctor`.",
                retry_after=60,
            ) from None

    async def _record(
        self, connection: Connection, project_id: str, change: audit.Change, actor: audit.System | None
    ) -> None:
        """Write an entry into the audit logs of both worlds of the project."""
        worlds = [world.id for world in await list_worlds(connection, project_id)]
        await audit.record(
            connection,
            self._ports.ids,
            self._ports.clock.now(),
            worlds=worlds,
            actor=actor,
            change=change,
            about=None,
        )


async def walk_sealed_signing_keys(connection: Connection, batch: int) -> AsyncGenerator[list[SealedValue]]:
    """The private keys of all projects, as they are stored; so many in each batch."""
    async for rows in signing_key_queries.walk_sealed_keys(connection, batch):
        yield [
            SealedValue(row.sealed_private_key, _context(row), partial(signing_key_queries.reseal, row))
            for row in rows
            if row.sealed_private_key is not None
        ]


def opened_key(sealer: Sealer, row: SealedKeyRow) -> EllipticCurvePrivateKey:
    """The private key of a row.

    Raises SealBroken when it was sealed for another project, number or public key, or under a secret that is
    not loaded.
    """
    if row.sealed_private_key is None:
        raise SealBroken
    return signatures.private_key(sealer.open(row.sealed_private_key, _context(row)))


def can_open(sealer: Sealer, row: SealedKeyRow) -> bool:
    """Whether the sealer opens the private key of a row."""
    try:
        opened_key(sealer, row)
    except SealBroken:
        return False
    return True


def _sealed(sealer: Sealer, row: SealedKeyRow, private_key: bytes) -> bytes:
    """A private key of 32 bytes, encrypted for storage.

    It can be opened only as the key of this project, with this number and this public key.
    """
    return sealer.seal(private_key, _context(row))


def _context(row: SealedKeyRow) -> bytes:
    return f"document-signing-key:{row.project_id}:{row.key_id}:{row.public_key.hex()}".encode()


def _change(action: str, key_id: int, retired: int | None) -> audit.Change:
    return audit.Change(
        action=action,
        resource_type="signing_key",
        resource_id=str(key_id),
        before=None if retired is None else {"active": retired},
        after=None if retired is None else {"active": key_id},
    )
