"""The audio of an encrypted upload becomes the one audio of its recording.

The slice of encrypted uploads opens the staged object, writes the plain audio to an object of its own, and
reads it back. The functions here do what concerns recordings, in that slice's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from lapel.foundation.core.ids import made_at
from lapel.foundation.storage import object_names
from lapel.slices.devices.service import mark_synced
from lapel.slices.recordings import events
from lapel.slices.recordings.audio import audio_queries
from lapel.slices.recordings.records import record_queries
from lapel.slices.recordings.records.service import read_in
from lapel.slices.recordings.uploads import media_states
from lapel.slices.recordings.uploads.commit import MAX_VERIFICATION_AGE
from lapel.slices.recordings.uploads.start import URL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.devices.service import ConnectionKind
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.audio.audio_queries import PlainAudioPlaceRow
    from lapel.slices.recordings.uploads.commit import OnAudio

# Ogg with Opus (RFC 7845, section 9).
CONTENT_TYPE: Final = "audio/ogg"
# The version of recordings whose audio was uploaded encrypted.
ENCRYPTION_VERSION: Final = 2

# `published`: the recording serves the audio `object_key`, which may be an equal one that it had before.
# `gone`: the recording is deleted. `other`: it has another audio, or its audio was erased. `stale`: the copy
# does not fit any more; make another one.
Outcome = Literal["published", "gone", "other", "stale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainAudioPlace:
    """Where a plain audio is to be written: a new object name of the recording's one audio."""

    project_id: str
    media_id: str
    object_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainAudio:
    """A plain audio in the store. The store compared its SHA-256 (hexadecimal) as it took the bytes, or the
    object was read back. `size` is in bytes."""

    place: PlainAudioPlace
    size: int
    sha256: str
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioOutcome:
    """What became of a plain audio. `media_id`, `object_key`: what is served; empty unless `published`."""

    outcome: Outcome
    media_id: str = ""
    object_key: str = ""


class AudioPublication:
    """Gives plain audio a place, and makes it the audio of its recording."""

    def __init__(self, ports: Ports, on_audio: Sequence[OnAudio]) -> None:
        self._ports = ports
        self._on_audio = on_audio

    async def new_place(self, world_id: int, recording_id: str) -> PlainAudioPlace | None:
        """A place that no other try has; None when the recording is deleted.

        An object that is written there and then not published is deleted by the reconciler a day later.
        Raises Unavailable when the database fails.
        """
        async with self._ports.database.acquire() as connection:
            row = await audio_queries.find_place(connection, world_id, recording_id)
        if row is None:
            return None
        media_id = row.media_id or self._ports.ids.new("med")
        name = object_names.AttemptName(row.project_id, recording_id, media_id, self._ports.ids.new("att"))
        return PlainAudioPlace(
            project_id=row.project_id,
            media_id=media_id,
            object_key=name.final_key("audio", CONTENT_TYPE),
        )

    async def publish(
        self,
        connection: Connection,
        at: Reach,
        device_id: str,
        end_user_id: str,
        by: ConnectionKind,
        audio: PlainAudio,
    ) -> AudioOutcome:
        """Let the recording serve the plain audio, and set it to `uploaded`, with its event.

        `device_id` and `by`: the device that uploaded, and its connection. `end_user_id`: the recording's end
        user. Uploads of the audio that have begun otherwise can be completed no more. A recording that serves
        an equal audio keeps it. Locks the device, then the recording. After any other outcome than
        `published`, the caller rolls back.
        """
        now = self._ports.clock.now()
        await mark_synced(connection, at.world_id, device_id, end_user_id, by, now)
        locked = await record_queries.lock(connection, at)
        if locked is None:
            return AudioOutcome(outcome="gone")
        there = await audio_queries.find_place(connection, at.world_id, at.recording_id)
        if locked.audio_erased_at is not None:
            return AudioOutcome(outcome="other")
        if there is not None and there.status == "uploaded":
            if (there.sha256, there.file_size_bytes) != (audio.sha256, audio.size):
                return AudioOutcome(outcome="other")
            await self._set_uploaded(connection, at, None, now)
            return _published(there.media_id, there.object_key)
        if self._is_stale(audio.place, there, now):
            return AudioOutcome(outcome="stale")
        verified = media_states.Verified(
            object_key=audio.place.object_key,
            content_type=CONTENT_TYPE,
            size=audio.size,
            sha256=audio.sha256,
            duration_ms=audio.duration_ms,
        )
        links_end = now + timedelta(seconds=URL_SECONDS)
        await media_states.take_over(connection, at, audio.place.media_id, verified, now, links_end)
        await self._set_uploaded(connection, at, audio, now)
        for tell in self._on_audio:
            await tell(connection, at.world_id, at.recording_id, audio.place.media_id)
        if locked.status != "uploaded":
            recording = await read_in(connection, at, locked.project_id)
            await events.publish(connection, self._ports.ids, now, at.world_id, "uploaded", recording)
        return _published(audio.place.media_id, audio.place.object_key)

    async def refuse(self, connection: Connection, at: Reach, occasion: str) -> None:
        """Set the recording to `integrity_failure`, with its event, unless it is uploaded or deleted.

        `occasion`: what failed; the same one publishes no second event. Locks the recording.
        """
        now = self._ports.clock.now()
        locked = await record_queries.lock(connection, at)
        if locked is None or not await record_queries.set_status(
            connection, at.world_id, at.recording_id, "integrity_failure", now
        ):
            return
        recording = await read_in(connection, at, locked.project_id)
        await events.publish(
            connection, self._ports.ids, now, at.world_id, "failed", recording, occasion=occasion
        )

    def _is_stale(self, place: PlainAudioPlace, there: PlainAudioPlaceRow | None, now: datetime) -> bool:
        """Whether the recording got another audio since, or the reconciler may have deleted the copy."""
        if there is not None and there.media_id not in (None, place.media_id):
            return True
        named = object_names.parse(place.object_key)
        begun_at = None if named is None else made_at(named.copy_id)
        return begun_at is None or now - begun_at > MAX_VERIFICATION_AGE

    async def _set_uploaded(
        self, connection: Connection, at: Reach, audio: PlainAudio | None, now: datetime
    ) -> None:
        """`audio`: the new audio; None: the recording keeps the facts of the one that it has."""
        await record_queries.set_uploaded(
            connection,
            at.world_id,
            at.recording_id,
            now,
            audio_sha256=None if audio is None else audio.sha256,
            audio_size=None if audio is None else audio.size,
            audio_type=None if audio is None else CONTENT_TYPE,
            audio_duration_ms=None if audio is None else audio.duration_ms,
            encryption_version=ENCRYPTION_VERSION,
        )


def _published(media_id: str | None, object_key: str | None) -> AudioOutcome:
    return AudioOutcome(outcome="published", media_id=media_id or "", object_key=object_key or "")
