"""Issues sessions: a fresh key pair, the signed authorization, and the row."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import RateLimitExceeded
from lapel.foundation.identity.sealed_values import SealedValue
from lapel.foundation.storage.object_names import SealedName
from lapel.slices.encrypted_uploads.documents import digests, hpke, upload_authorization
from lapel.slices.encrypted_uploads.documents.profiles import POLICY_CODES
from lapel.slices.encrypted_uploads.documents.upload_authorization import (
    BATCH,
    BLE,
    CELLULAR,
    CROSS_CHANNEL,
    REPLACEMENT,
    RESUME,
    WIFI,
    Authorization,
)
from lapel.slices.encrypted_uploads.sessions import session_queries
from lapel.slices.encrypted_uploads.sessions.session_queries import NewSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.documents.layouts import Environment
    from lapel.slices.encrypted_uploads.policies.upload_policies import DevicePolicy, UploadPolicies
    from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
    from lapel.slices.encrypted_uploads.wire import Channel

# How long an authorization is valid. No upload URL of a session outlives it.
LIFE = timedelta(seconds=3600)
# A PUT may still run when its URL ends. A staged object that no manifest claimed goes this long after that.
LATE_PUT_GRACE = timedelta(hours=24)
# The most sessions of a recording whose URLs may be valid. Each may put an object into the store, also after
# the session was cancelled. A device needs a few.
MOST_VALID = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFacts:
    """What a client says of an upload. `binding_generation` is the device's present one."""

    recording_id: str
    device_id: str
    end_user_id: str
    serial_number: str
    binding_generation: int
    recording_uuid: str
    recording_generation: int
    channel: Channel
    capabilities: bytes
    auth_nonce: bytes
    ciphertext_length: int
    ciphertext_sha256: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The session that a new one replaces."""

    session_id: str
    owner_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fresh:
    """What a session does not share with any other. `issued_at`: seconds since 1970."""

    session_id: uuid.UUID
    recipient_key_id: uuid.UUID
    private_key: bytes = field(repr=False)
    owner_revision: int
    issued_at: int
    staging_key: str

    @property
    def expires_at(self) -> int:
        """Seconds since 1970."""
        return self.issued_at + int(LIFE.total_seconds())


def recipient_context(world_id: int, session_id: str) -> bytes:
    """The context under which a session's private X25519 key is sealed."""
    return f"encrypted-upload:{world_id}:{session_id}".encode()


async def walk_sealed_recipient_keys(connection: Connection, batch: int) -> AsyncGenerator[list[SealedValue]]:
    """The private keys of all sessions, as they are stored; so many in each batch."""
    async for rows in session_queries.walk_recipient_keys(connection, batch):
        yield [
            SealedValue(
                row.sealed_recipient_key,
                recipient_context(row.world_id, row.id),
                partial(session_queries.reseal, row),
            )
            for row in rows
        ]


class SessionIssuer:
    """Issues sessions."""

    def __init__(self, ports: Ports, keys: SigningKeys, policies: UploadPolicies) -> None:
        self._ports = ports
        self._keys = keys
        self._policies = policies

    async def issue(
        self, connection: Connection, actor: Actor, facts: UploadFacts, recovered: Recovered | None = None
    ) -> str:
        """Store a new session of a locked recording, which has no open one. Returns its id.

        Raises RateLimitExceeded when the recording has had MOST_VALID sessions within their life, and
        Unavailable when the project's signing key cannot be opened.
        """
        now = self._ports.clock.now()
        await self._check_number(connection, actor, facts.recording_id, now)
        signing_key = await self._keys.active(connection, actor.project_id)
        told = await self._policies.current(
            connection, actor.world_id, actor.project_id, facts.device_id, facts.end_user_id
        )
        organization = await session_queries.read_organization(connection, actor.world_id)
        fresh = _fresh(actor, facts, recovered, now)
        authorization = upload_authorization.encode(
            self._authorization(
                facts, fresh, told, signing_key.key_id, digests.tenant(organization, actor.project_id)
            ),
            signing_key.private_key,
        )
        context = recipient_context(actor.world_id, str(fresh.session_id))
        ends = datetime.fromtimestamp(fresh.expires_at, UTC)
        new = NewSession(
            id=str(fresh.session_id),
            recording_id=facts.recording_id,
            device_id=facts.device_id,
            end_user_id=facts.end_user_id,
            owner_revision=fresh.owner_revision,
            channel=facts.channel,
            policy=told.policy,
            policy_revision=told.revision,
            binding_generation=facts.binding_generation,
            recording_uuid=facts.recording_uuid,
            recording_generation=facts.recording_generation,
            capabilities=facts.capabilities,
            auth_nonce=facts.auth_nonce,
            ciphertext_length=facts.ciphertext_length,
            ciphertext_sha256=facts.ciphertext_sha256,
            staging_key=fresh.staging_key,
            upload_authorization=authorization,
            configuration=told.configuration,
            recipient_key_id=str(fresh.recipient_key_id),
            sealed_recipient_key=self._ports.sealer.seal(fresh.private_key, context),
            predecessor_id=None if recovered is None else recovered.session_id,
            clear_at=ends + LATE_PUT_GRACE,
            expires_at=ends,
        )
        await session_queries.insert(connection, actor.world_id, new, now)
        crash_point("encrypted-session:row-written")
        return new.id

    async def _check_number(
        self, connection: Connection, actor: Actor, recording_id: str, now: datetime
    ) -> None:
        """Raises RateLimitExceeded when the recording has had too many sessions within their life.

        429 and not 409, because a client may recover a session as often as it needs to, and gives up at 409.
        """
        created = await session_queries.newest_since(
            connection, actor.world_id, recording_id, now - LIFE, MOST_VALID
        )
        if len(created) < MOST_VALID:
            return
        free_at = created[-1] + LIFE
        seconds = math.ceil((free_at - now).total_seconds())
        raise RateLimitExceeded(
            f"This recording has had {MOST_VALID} upload sessions within an hour. Use the last one, or try "
            f"again in {seconds} seconds.",
            headers=(
                ("Retry-After", str(seconds)),
                ("X-RateLimit-Limit", str(MOST_VALID)),
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", str(math.ceil(free_at.timestamp()))),
            ),
        )

    def _authorization(
        self, facts: UploadFacts, fresh: _Fresh, told: DevicePolicy, signing_key_id: int, tenant: bytes
    ) -> Authorization:
        """What the device is allowed. The signature comes later."""
        settings = self._ports.settings
        replaces = fresh.owner_revision > 1
        return Authorization(
            environment=cast("Environment", settings.encrypted_upload_environment),
            policy=POLICY_CODES[told.policy],
            channel_mask=BLE | WIFI | CELLULAR,
            flags=BATCH | RESUME | CROSS_CHANNEL | (REPLACEMENT if replaces else 0),
            owner_revision=fresh.owner_revision,
            binding_generation=facts.binding_generation,
            recording_generation=facts.recording_generation,
            signing_key_id=signing_key_id,
            policy_revision=told.revision,
            issued_at=fresh.issued_at,
            expires_at=fresh.expires_at,
            minimum_length=facts.ciphertext_length,
            maximum_length=facts.ciphertext_length,
            session_uuid=fresh.session_id,
            recipient_key_uuid=fresh.recipient_key_id,
            recording_uuid=uuid.UUID(facts.recording_uuid),
            device_nonce=facts.auth_nonce,
            recipient_public_key=hpke.public_key(fresh.private_key),
            tenant=tenant,
            device=digests.device_identity(facts.serial_number),
            configuration=told.configuration_sha256,
            staging=digests.staging_object(fresh.session_id, settings.s3_bucket, fresh.staging_key),
            ciphertext_sha256=bytes.fromhex(facts.ciphertext_sha256),
        )


def _fresh(actor: Actor, facts: UploadFacts, recovered: Recovered | None, now: datetime) -> _Fresh:
    session_id = uuid.uuid4()
    return _Fresh(
        session_id=session_id,
        recipient_key_id=uuid.uuid4(),
        private_key=hpke.new_private_key(),
        owner_revision=1 if recovered is None else recovered.owner_revision + 1,
        issued_at=int(now.timestamp()),
        staging_key=SealedName(actor.project_id, facts.recording_id, str(session_id)).key(),
    )
