"""The checks of `lapel doctor` for speech: weights, failing work, keys of remote providers, remote copies.

If one of these is broken, everything except transcription still works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.secret_checks import find_unreadable
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.slots import opened
from lapel.slices.transcription.copies import copy_queries
from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.models.weights.speaker_weights import speaker_weights
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.work import work_queries

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.settings import Settings
    from lapel.slices.transcription.rows import TryingStepsRow


def speech(settings: Settings) -> Iterator[Finding]:
    """Whether this machine can transcribe and detect speakers. A machine without a worker has no findings.

    Reads all weights that come in packages, 175 MB, to compare their checksums.
    """
    if settings.role in {"worker", "all"}:
        yield _whisper(settings.whisper_model)
        yield _speakers(settings)


def _whisper(setting: str) -> Finding:
    part = "speech"
    try:
        found = whisper_weights.find(setting)
    except SpeechError as fault:
        return Finding(
            part, "broken", str(fault).removesuffix(whisper_weights.REMEDY).strip(), whisper_weights.REMEDY
        )
    if found is None and setting:
        return Finding(
            part, "warning", f"the model {setting} is not here yet; the first transcription downloads it",
            whisper_weights.REMEDY,
        )  # fmt: skip
    if found is None:
        return Finding(
            part, "warning", "no Whisper model: nothing is transcribed here", whisper_weights.REMEDY
        )
    if (damage := found.damage()) is not None:
        return Finding(part, "broken", damage, whisper_weights.REMEDY)
    checked = ", checksums right" if found.packaged else ""
    return Finding(part, "ok", f"{found.name}, {found.origin}{checked}")


def _speakers(settings: Settings) -> Finding:
    found = speaker_weights(settings.speaker_model)
    if found.state == "ready":
        return Finding("speakers", "ok", f"recognized with {found.place}")
    state = "broken" if found.state == "damaged" else "warning"
    return Finding("speakers", state, f"not recognized: weights {found.state}", found.remedy)


async def failing_steps(connection: Connection) -> AsyncIterator[Finding]:
    """Findings about steps of audio work that failed or wait for disk space; none without such steps."""
    rows = await work_queries.trying(connection)
    if roomless := _steps((row.roomless, row) for row in rows):
        yield Finding(
            "speech work", "broken", f"steps that wait because a worker's disk is full: {roomless}",
            "Make room on the disk of the worker's scratch folder, which the worker's log names "
            "(speech.disk_full). Or set LAPEL_SCRATCH_DIR to another folder, and restart the worker. Then "
            "the steps continue.",
        )  # fmt: skip
    if steps := _steps((row.failed, row) for row in rows):
        yield Finding(
            "speech work", "warning", f"steps that failed and will be tried again: {steps}",
            "The worker's log says why (speech.tries_again). `lapel providers test SLOT` asks a service.",
        )  # fmt: skip


def _steps(counted: Iterable[tuple[int, TryingStepsRow]]) -> str:
    return ", ".join(f"{count} of {row.stage}" for count, row in counted if count)


def provider_keys(connection: Connection, sealer: Sealer) -> AsyncIterator[Finding]:
    """Whether the secret decrypts the keys for remote providers; nothing when there are no keys."""
    return find_unreadable(
        "providers",
        "keys",
        slot_queries.walk_keys(connection),
        lambda row: opened(sealer, row),
        lambda row: f"{row.slot} of {row.project_id} ({row.mode})",
        "Set LAPEL_SECRET_PREVIOUS to the former secret, or set the keys again: `lapel providers set`.",
    )


async def remote_copies(connection: Connection) -> AsyncIterator[Finding]:
    """A finding for each provider at which copies could not be deleted yet; nothing when there are none."""
    for row in await copy_queries.left(connection):
        yield Finding(
            "remote copies", "warning",
            f"{row.copies} at {row.engine} could not be deleted yet; the last: {row.fault}",
            "Lapel tries again for 30 days, at least once an hour. The worker's log names each copy "
            "(speech.copy_not_deleted).",
        )  # fmt: skip
