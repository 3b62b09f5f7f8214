"""The models of remote services: which are asked, which answered, and until when they live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.cli.checks import Finding
from lapel.foundation.seal import SealBroken
from lapel.transcription.failures import SpeechError, TryAgain
from lapel.transcription.providers import slot_queries
from lapel.transcription.providers.slots import SlotChoice, opened

if TYPE_CHECKING:
    import asyncpg

    from lapel.foundation.clock import Clock
    from lapel.foundation.kit import Kit
    from lapel.transcription.providers.slots import Engine

# Seconds that a service is waited for.
_LIMIT = 10.0
# Slots that doctor looks at, of all projects.
_MOST_SLOTS = 20


async def provider_models(kit: Kit) -> list[Finding]:
    """For each slot that a remote engine answers: the model that it is asked for, the one that answered last,
    and a warning when the service ends it."""
    async with kit.database.acquire() as connection:
        rows = await slot_queries.list_remote(connection, _MOST_SLOTS)
    return await asyncio.gather(*(_finding(kit, row) for row in rows))


async def _finding(kit: Kit, row: asyncpg.Record) -> Finding:
    where = f"{row['slot']} of {row['project_id']} ({row['mode']})"
    answered = f", {row['answered']} answered last" if row["answered"] else ""
    detail = f"{where}: {row['engine']} is asked for {row['model'] or _usual(row['engine'])}{answered}"
    try:
        warnings = await model_warnings(_choice(kit, row), kit.clock)
    except SealBroken:  # a finding of its own
        warnings = []
    return Finding("provider", "warning" if warnings else "ok", detail, warnings[0] if warnings else None)


def _choice(kit: Kit, row: asyncpg.Record) -> SlotChoice:
    """Raises SealBroken."""
    place = (row["world_id"], row["slot"], row["engine"], row["base_url"])
    key = None if row["sealed_key"] is None else opened(kit.sealer, row["sealed_key"], *place)
    return SlotChoice(
        slot=row["slot"], engine=row["engine"], model=row["model"], base_url=row["base_url"], key=key
    )


def _usual(engine: Engine) -> str:
    from lapel.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415  # HTTP

    usual = {
        "deepgram": deepgram.MODEL, "assemblyai": ",".join(assemblyai.MODELS),
        "elevenlabs": elevenlabs.MODEL, "openai": openai.MODEL,
    }  # fmt: skip
    return usual.get(engine, "")


async def model_warnings(choice: SlotChoice, clock: Clock) -> list[str]:
    """A sentence when the slot's model ends on a day that is known; else nothing.

    Only OpenAI's API tells (`GET /models/{id}`), and not of every model. A service that does not answer is
    no warning: its transcripts may be all right.
    """
    if choice.engine != "openai":
        return []
    from lapel.transcription.providers.http import Patience  # noqa: PLC0415  # HTTP is not small
    from lapel.transcription.providers.openai import OpenAI  # noqa: PLC0415

    patience = Patience(connect=_LIMIT, answer=_LIMIT, total=_LIMIT)
    service = OpenAI(choice, clock, patience)
    try:
        day = await service.shutdown_date()
    except (SpeechError, TryAgain):
        return []
    if day is None:
        return []
    ends = f"The service ends its model {service.model} on {day.isoformat()}."
    return [f"{ends} Name another one before: `lapel providers set {choice.slot} --model NAME`."]
