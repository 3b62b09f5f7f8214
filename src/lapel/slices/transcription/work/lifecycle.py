"""Changes the status of a transcription, and creates the row of the work on an audio. Also
writes what the probe found.

No other module of the slice does this. The order: pending → processing → completed or failed. `start`,
`complete` and `fail` publish an event in the same transaction; creation publishes none. The runner moves the
row of the work from step to step, and deletes the row at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from lapel.foundation.database import audit
from lapel.foundation.queue import jobs
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.recordings.service import set_examined, set_transcription, set_unreadable
from lapel.slices.transcription import events, fact_queries, queries
from lapel.slices.transcription.audio.damage.damage_warnings import warnings_of
from lapel.slices.transcription.payloads import Lane, Stage, Wake, entrypoint
from lapel.slices.transcription.requests.daily_audio import give_back
from lapel.slices.transcription.speech.failures import OF_AUDIO
from lapel.slices.transcription.views import stored_segments, transcription_of
from lapel.slices.transcription.wire import TranscribeRecording
from lapel.slices.transcription.work import work_queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.service import SpeechSlot
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.audio.audio_facts import AudioFacts
    from lapel.slices.transcription.rows import ChangedTranscriptionRow
    from lapel.slices.transcription.speech.failures import Code
    from lapel.slices.transcription.speech.transcript import Origin, Transcript


class OnComplete(Protocol):
    """A hook with which another slice acts in the transaction that completes a transcription.

    Called after the recording's current transcription is set. The recording is locked. The transcription may
    be older than the current one, if its work took longer.
    """

    async def __call__(
        self, connection: Connection, world_id: int, recording_id: str, transcription_id: str, /
    ) -> None: ...


async def wake(
    connection: Connection,
    lane: Lane,
    world_id: int,
    work_id: str,
    stage: Stage,
    *,
    after: timedelta | None = None,
) -> None:
    """Queue one job in this transaction. The job makes a worker do steps of the lane, once `after` has
    passed."""
    await jobs.enqueue(connection, entrypoint(lane), Wake(world_id, work_id, stage), after=after)


async def begin_probe(
    connection: Connection, world_id: int, recording_id: str, media_id: str, now: datetime
) -> None:
    """Begin to probe an audio, unless it has a separate probe already."""
    audio = (recording_id, media_id)
    if await work_queries.insert(
        connection, world_id, media_id, audio, now, transcription_id=None, lane="decode", stage="probe"
    ):
        await wake(connection, "decode", world_id, media_id, "probe")


async def begin_transcription(
    connection: Connection,
    ports: Ports,
    audio: Audio,
    slot: SpeechSlot,
    wish: TranscribeRecording,
    *,
    origin: Origin,
) -> str | None:
    """Create a pending transcription with its work, and return its id.

    Returns None if `origin` is "auto" and the audio already has an automatic transcription.

    If the recording has a completed transcription, that one stays current until the new one is completed.
    Otherwise the new one is current at once. The caller has locked the recording.
    """
    now, world_id, transcription_id = ports.clock.now(), audio.world_id, ports.ids.new("txn")
    ids = (audio.recording_id, audio.media_id)
    if not await queries.insert(
        connection, world_id, transcription_id, ids, now, origin=origin, provider=slot, wish=wish
    ):
        return None
    await work_queries.drop_probe(connection, world_id, audio.media_id)
    await work_queries.insert(
        connection,
        world_id,
        transcription_id,
        ids,
        now,
        transcription_id=transcription_id,
        lane="decode",
        stage="probe",
    )
    await wake(connection, "decode", world_id, transcription_id, "probe")
    await settle_current(connection, world_id, audio.recording_id, now)
    return transcription_id


async def write_transcript(
    connection: Connection, ports: Ports, audio: Audio, transcript: Transcript, hooks: Sequence[OnComplete]
) -> str:
    """Create a completed transcription from a transcript that was made elsewhere, and return its id.

    The events and the hooks are those of any transcription. The caller has locked the recording.
    """
    now, world_id, transcription_id = ports.clock.now(), audio.world_id, ports.ids.new("txn")
    ids = (audio.recording_id, audio.media_id)
    wish = TranscribeRecording()
    await queries.insert(
        connection, world_id, transcription_id, ids, now, origin="request", provider="whisper", wish=wish
    )
    await start(connection, ports, world_id, transcription_id)
    segments = stored_segments(transcript.segments)
    await complete(connection, ports, world_id, transcription_id, transcript, segments, hooks)
    return transcription_id


async def write_facts(connection: Connection, audio: Audio, facts: AudioFacts, now: datetime) -> None:
    """Store what the probe found in an audio, with warnings if it is damaged; the recording shows them."""
    ids = (audio.world_id, audio.recording_id, audio.media_id)
    warnings = warnings_of(facts, audio.claimed_ms)
    stored = msgspec.json.encode(warnings).decode()
    await fact_queries.put(connection, *ids, facts, stored, now)
    await set_examined(connection, *ids, facts.duration_ms, now, warnings=stored, damaged=bool(warnings))


async def write_fault(connection: Connection, audio: Audio, code: Code, message: str, now: datetime) -> None:
    """Store why an audio cannot be read. The recording shows it if the audio itself is the reason."""
    ids = (audio.world_id, audio.recording_id)
    await fact_queries.put_fault(connection, *ids, audio.media_id, code, message, now)
    if code in OF_AUDIO:
        warnings = msgspec.json.encode([TimedWarning(code=code, message=message)]).decode()
        damaged = code != "audio_too_short"
        await set_unreadable(connection, *ids, now, warnings=warnings, damaged=damaged)


async def start(connection: Connection, ports: Ports, world_id: int, transcription_id: str) -> None:
    """Set a pending transcription to processing, and publish the event. If it is not pending, do nothing."""
    now = ports.clock.now()
    begun = await queries.begin(connection, world_id, transcription_id, now)
    if begun is not None:
        shown = transcription_of(begun)
        await events.publish(connection, ports.ids, now, world_id, "started", shown, begun.end_user_id)


async def complete(
    connection: Connection,
    ports: Ports,
    world_id: int,
    transcription_id: str,
    transcript: Transcript,
    segments: tuple[bytes, bytes],
    hooks: Sequence[OnComplete] = (),
) -> None:
    """Set a transcription to completed, and publish the event. Also delete the results of its steps.

    If the transcription has ended before, only the results are deleted. `segments`: JSON with words, and
    without. `hooks` of other slices are called last. The caller has locked the recording.
    """
    now = ports.clock.now()
    done = await queries.complete(connection, world_id, transcription_id, transcript, segments, now)
    await queries.delete_pieces(connection, world_id, transcription_id)
    if done is not None:
        await settle_current(connection, world_id, done.recording_id, now)
        shown = transcription_of(done)
        await events.publish(connection, ports.ids, now, world_id, "completed", shown, done.end_user_id)
        await _record(connection, ports, now, world_id, done, "transcription.completed")
        for hook in hooks:
            await hook(connection, world_id, done.recording_id, transcription_id)


async def settle_current(connection: Connection, world_id: int, recording_id: str, now: datetime) -> None:
    """Set the recording's current transcription: the newest completed one, else the newest.

    The caller has locked the recording.
    """
    current = await queries.find_current(connection, world_id, recording_id)
    if current is not None:
        await set_transcription(connection, world_id, recording_id, current, now)


# Failures that are not the audio's fault: the project got no transcript, so its hours are given back.
_COSTS_NOTHING = frozenset({"provider_error", "processing_error"})


async def fail(
    connection: Connection,
    ports: Ports,
    world_id: int,
    transcription_id: str,
    code: Code,
    message: str,
    *,
    by_audio: bool = False,
) -> None:
    """Set a transcription to failed, and publish the event. Also delete the results of its steps.

    If the transcription has ended before, only the results are deleted. `by_audio`: the audio or its deletion
    is the reason. Then the audio's hours stay counted, whatever the code is.
    """
    now = ports.clock.now()
    failed = await queries.fail(connection, world_id, transcription_id, code, message, now)
    if failed is not None and code in _COSTS_NOTHING and not by_audio:
        await give_back(connection, world_id, transcription_id, now)
    await queries.delete_pieces(connection, world_id, transcription_id)
    if failed is not None:
        shown = transcription_of(failed)
        await events.publish(connection, ports.ids, now, world_id, "failed", shown, failed.end_user_id)
        await _record(connection, ports, now, world_id, failed, "transcription.failed")


async def _record(
    connection: Connection,
    ports: Ports,
    now: datetime,
    world_id: int,
    row: ChangedTranscriptionRow,
    action: str,
) -> None:
    """What came of a provider's work is an entry of the audit log, with the provider as the actor."""
    await audit.record_work(
        connection,
        ports.ids,
        now,
        world_id=world_id,
        provider=row.provider,
        action=action,
        resource_id=row.id,
        about=row.end_user_id,
    )
