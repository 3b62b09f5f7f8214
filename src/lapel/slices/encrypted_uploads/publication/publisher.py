"""Publishes a session: verify the staged object, write its plain audio, have that verified, sign the receipt.

The plain audio streams into a new object while the staged one is opened. The object is complete only when
everything is verified. Before anything refers to it, the store has compared its SHA-256, or it is read
back. Then one transaction makes it the audio of the recording and stores the receipt.

If the process is killed, another try begins anew, with another object. What a killed try leaves is at most an
object that nothing refers to, which the reconciler's sweep deletes.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.queue import jobs
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.payloads import PUBLISH, PublishSession
from lapel.slices.encrypted_uploads.publication import publication_queries
from lapel.slices.encrypted_uploads.publication.completion_receipt import signed_receipt
from lapel.slices.encrypted_uploads.publication.plain_writer import PlainWriter
from lapel.slices.recordings.service import Reach

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.publication.publication_queries import PublishableRow
    from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
    from lapel.slices.recordings.service import AudioPublication, PlainAudio

# The sweep makes another job for a session that was claimed and is not published so long after.
PATIENCE = timedelta(minutes=15)
# Tries of one job that end because the recording gets another audio meanwhile.
_TRIES = 3
_BATCH = 500

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# `published`: with a receipt. `lost`: another publisher has the session. `gone`: the recording is deleted.
# `other`: the recording has another audio. `stale`: begin anew.
_End = Literal["published", "lost", "gone", "other", "stale"]


class _RolledBack(Exception):
    """The transaction is rolled back."""

    def __init__(self, end: _End) -> None:
        super().__init__(end)
        self.end: _End = end


@dataclass(frozen=True, slots=True)
class _Held:
    """A session, and the lease under which this publisher works on it."""

    session: PublishableRow
    lease: str

    @property
    def at(self) -> Reach:
        """The session's recording."""
        return Reach(self.session.world_id, self.session.recording_id)


class Publisher:
    """Publishes sessions. Every method may run several times for the same session, even at once."""

    def __init__(self, ports: Ports, audio: AudioPublication, keys: SigningKeys) -> None:
        self._ports = ports
        self._audio = audio
        self._keys = keys
        self._writer = PlainWriter(ports)

    async def publish(self, payload: PublishSession) -> None:
        """Publish the session, or let it fail, unless that is done.

        Raises StoreUnavailable when the store fails, and Unavailable when the database fails: then nothing is
        lost, and the job tries again. Raises SealBroken when the session's key was sealed under a secret that
        is not loaded.
        """
        for _ in range(_TRIES):
            held = await self._claim(payload)
            if held is None or await self._try(held):
                return
        raise Unavailable("Other requests keep changing this recording.")

    async def run_due(self) -> int:
        """Make jobs for sessions whose job is lost, or was held. Returns the number of sessions.

        Raises Unavailable when the database fails.
        """
        async with self._ports.database.transaction() as connection:
            due = await publication_queries.take_due(connection, self._ports.clock.now(), _BATCH)
            for each in due:
                payload = PublishSession(each.world_id, each.id, each.ciphertext_length)
                await jobs.enqueue(connection, PUBLISH, payload, dedupe=each.id)
        return len(due)

    async def aclose(self) -> None:
        """End the threads."""
        self._writer.close()

    async def _claim(self, payload: PublishSession) -> _Held | None:
        crash_point("encrypted-publish:begin")
        now, lease = self._ports.clock.now(), secrets.token_hex(16)
        async with self._ports.database.transaction() as connection:
            session = await publication_queries.claim(
                connection, payload.world_id, payload.session_id, lease, now + PATIENCE, now
            )
        crash_point("encrypted-publish:claimed")
        return None if session is None else _Held(session, lease)

    async def _try(self, held: _Held) -> bool:
        """Whether nothing is left to do. False: begin anew."""
        place = await self._audio.new_place(held.at.world_id, held.at.recording_id)
        if place is None:
            await self._leave(held)
            return True
        try:
            audio = await self._writer.write(held.session, place)
        except Refused as refused:
            await self._fail(held, refused)
            return True
        end, served = await self._commit(held, audio)
        if served != place.object_key:
            await self._writer.discard(place)
        if end == "gone":
            await self._leave(held)
        elif end == "other":
            await self._fail(held, Refused("replay_conflict", "The recording has another audio already."))
        return end != "stale"

    async def _commit(self, held: _Held, audio: PlainAudio) -> tuple[_End, str]:
        """One transaction: the recording's audio, and the receipt. Returns the object that is served, too.

        If anything fails before the commit, the object is deleted: each try writes another one. If the
        database fails during the commit, the object stays, because it may be served.
        """
        is_committing = False
        try:
            async with self._ports.database.transaction() as connection:
                served = await self._publish_in(connection, held, audio)
                crash_point("encrypted-publish:before-commit")
                is_committing = True
        except _RolledBack as rolled_back:
            return rolled_back.end, ""
        except Exception:
            if not is_committing:
                await self._writer.discard(audio.place)
            raise
        crash_point("encrypted-publish:committed")
        return "published", served

    async def _publish_in(self, connection: Connection, held: _Held, audio: PlainAudio) -> str:
        """Returns the name of the object that the recording serves. Raises _RolledBack."""
        session, now = held.session, self._ports.clock.now()
        outcome = await self._audio.publish(
            connection, held.at, session.device_id, session.end_user_id, session.channel, audio
        )
        if outcome.outcome != "published":
            raise _RolledBack(outcome.outcome)
        crash_point("encrypted-publish:audio-published")
        receipt = signed_receipt(
            session.upload_authorization,
            bytes.fromhex(audio.sha256),
            bucket=self._ports.settings.s3_bucket,
            object_name=outcome.object_key,
            key=await self._keys.active(connection, audio.place.project_id),
            now=now,
        )
        published = await publication_queries.publish(
            connection,
            session,
            held.lease,
            receipt=receipt,
            media_id=outcome.media_id,
            plaintext_length=audio.size,
            now=now,
        )
        _must(published)
        return outcome.object_key

    async def _fail(self, held: _Held, refused: Refused) -> None:
        session, now = held.session, self._ports.clock.now()
        crash_point("encrypted-publish:before-failure")
        try:
            async with self._ports.database.transaction() as connection:
                await self._audio.refuse(connection, held.at, occasion=session.id)
                failed = await publication_queries.fail(
                    connection, session, held.lease, refused.reason, str(refused), now
                )
                _must(failed)
                crash_point("encrypted-publish:failure-written")
        except _RolledBack:
            return
        crash_point("encrypted-publish:failed")
        _log.warning("encrypted_upload.failed", session=session.id, reason=refused.reason)

    async def _leave(self, held: _Held) -> None:
        async with self._ports.database.transaction() as connection:
            await publication_queries.leave(connection, held.session, held.lease)


def _must(ours: bool) -> None:
    """Raises _RolledBack if the lease was another publisher's."""
    if not ours:
        raise _RolledBack("lost")
