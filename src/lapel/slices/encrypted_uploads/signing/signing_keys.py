"""Signing keys: with them the server signs authorizations and receipts for the devices of a project.

A key is a key of ECDSA on P-256. Devices know its public key by its number, which counts from 1 in each
project. A project has at most one active key. A key that was retired signs nothing more: its private key is
deleted. Its public key stays for ever, so that old receipts can be verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.foundation.database import audit
from lapel.foundation.identity.seal import SealBroken
from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.encrypted_uploads.signing import signing_key_queries
from lapel.slices.projects.service import list_worlds, lock_world

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.signing.signing_key_queries import PublicKeyRow, SealedKeyRow

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
            made = await self._make(connection, project_id, self._ports.clock.now())
            if made is not None:
                change = _change("signing_key.created", made, None)
                await self._record(connection, project_id, change, audit.System("encrypted_uploads"))
                return made
        raise Unavailable("The signing key of this project is being rotated. Repeat the request.")

    async def list(self, connection: Connection, project_id: str) -> list[PublicKeyRow]:
        """The public keys of a project, retired ones too, oldest first."""
        return await signing_key_queries.list_of_project(connection, project_id)

    async def rotate(self, connection: Connection, project_id: str) -> SigningKey:
        """Retire the active key, if there is one, and make the next key. For the operator.

        Does not need the old private key, so a key that cannot be read any more can be replaced. Raises
        NotFound when there is no such project.
        """
        if await lock_world(connection, project_id, "live") is None:
            raise NotFound("There is no project with this id.", param="project_id")
        now, retired = self._ports.clock.now(), None
        while True:
            retired = await signing_key_queries.retire(connection, project_id, now) or retired
            # The insertion fails only if the project had no key, and another transaction has made the first.
            made = await self._make(connection, project_id, now)
            if made is not None:
                action = "signing_key.created" if retired is None else "signing_key.rotated"
                await self._record(connection, project_id, _change(action, made, retired), None)
                return made

    async def _make(self, connection: Connection, project_id: str, now: datetime) -> SigningKey | None:
        """A new active key; None if the project has one."""
        key_id = await signing_key_queries.next_key_id(connection, project_id)
        private = signatures.new_private_key()
        key = signatures.private_key(private)
        public = signatures.public_raw(key.public_key())
        sealed = sealed_key(self._ports.sealer, project_id, key_id, public, private)
        done = await signing_key_queries.insert(connection, project_id, key_id, public, sealed, now)
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


def sealed_key(sealer: Sealer, project_id: str, key_id: int, public_key: bytes, private_key: bytes) -> bytes:
    """A private key of 32 bytes, encrypted for storage.

    It can be opened only as the key of this project, with this number and this public key.
    """
    return sealer.seal(private_key, _context(project_id, key_id, public_key))


def opened_key(sealer: Sealer, row: SealedKeyRow) -> EllipticCurvePrivateKey:
    """The private key of a row.

    Raises SealBroken when it was sealed for another project, number or public key, or under a secret that is
    not loaded.
    """
    if row.sealed_private_key is None:
        raise SealBroken
    context = _context(row.project_id, row.key_id, row.public_key)
    return signatures.private_key(sealer.open(row.sealed_private_key, context))


def _context(project_id: str, key_id: int, public_key: bytes) -> bytes:
    return f"document-signing-key:{project_id}:{key_id}:{public_key.hex()}".encode()


def _change(action: str, made: SigningKey, retired: int | None) -> audit.Change:
    public = signatures.public_raw(made.private_key.public_key()).hex()
    return audit.Change(
        action=action,
        resource_type="signing_key",
        resource_id=str(made.key_id),
        before=None if retired is None else {"key_id": retired},
        after={"key_id": made.key_id, "public_key": public},
    )
