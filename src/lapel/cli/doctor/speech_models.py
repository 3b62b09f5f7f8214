"""The models of remote services: the one that is asked for, the one that answered last, and its last day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.foundation.identity.seal import SealBroken
from lapel.slices.transcription.slots import slot_queries
from lapel.slices.transcription.slots.slots import stored_choice
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.providers.choice import Engine, SlotChoice
    from lapel.slices.transcription.rows import RemoteSlotRow

# Seconds to wait for a service.
_LIMIT = 10.0
# Slots that doctor checks, over all projects.
_MOST_SLOTS = 20


async def provider_models(ports: Ports) -> list[Finding]:
    """One finding for each slot with a remote engine, for at most `_MOST_SLOTS` slots.

    The finding names the model that is asked for and the one that answered last. It is a warning if the
    service says on which day it ends the model.
    """
    async with ports.database.acquire() as connection:
        rows = await slot_queries.list_remote(connection, _MOST_SLOTS)
    return await asyncio.gather(*(_finding(ports, row) for row in rows))


async def _finding(ports: Ports, row: RemoteSlotRow) -> Finding:
    where = f"{row.slot} of {row.project_id} ({row.mode})"
    answered = f", {row.answered} answered last" if row.answered else ""
    detail = f"{where}: {row.engine} is asked for {row.model or _usual(row.engine)}{answered}"
    try:
        warnings = await model_warnings(stored_choice(ports.sealer, row), ports.clock)
    except SealBroken:  # `provider_keys` reports it
        warnings = []
    return Finding("provider", "warning" if warnings else "ok", detail, warnings[0] if warnings else None)


def _usual(engine: Engine) -> str:
    from lapel.slices.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415  # HTTP

    usual = {
        "deepgram": deepgram.MODEL, "assemblyai": ",".join(assemblyai.MODELS),
        "elevenlabs": elevenlabs.MODEL, "openai": openai.MODEL,
    }  # fmt: skip
    return usual.get(engine, "")


async def model_warnings(choice: SlotChoice, clock: Clock) -> list[str]:
    """A sentence if it is known on which day the service ends the slot's model; otherwise no sentence.

    Only OpenAI's API names the day (`GET /models/{id}`), and only for some models. A service that does not
    answer causes no warning, because its transcripts may still work.
    """
    if choice.engine != "openai":
        return []
    from lapel.slices.transcription.providers.http.provider_client import Patience  # noqa: PLC0415  # HTTP is not small
    from lapel.slices.transcription.providers.openai import OpenAI  # noqa: PLC0415

    patience = Patience(connect=_LIMIT, answer=_LIMIT, total=_LIMIT)
    service = OpenAI(choice, clock, patience)
    try:
        day = await service.shutdown_date()
    except (SpeechError, TryAgain):
        return []
    if day is None:
        return []
    ends = f"The service ends its model {service.model} on {day.isoformat()}."
    return [f"{ends} Choose another model before that day: `lapel providers set {choice.slot} --model NAME`."]
