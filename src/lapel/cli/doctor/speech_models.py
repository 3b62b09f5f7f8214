"""The models of remote services: the one that is asked for, the one that answered last, and its last day."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.providers.choice import LANGUAGE_SLOTS, SPEECH_SLOTS
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.regions import region_of
from lapel.slices.providers.slots.slots import at_vendor, stored_choice
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.work import work_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.ports import Ports
    from lapel.slices.providers.choice import Slot, SlotChoice
    from lapel.slices.providers.rows import EngineCountRow, OperatorSlotRow

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


async def engines(ports: Ports) -> list[Finding]:
    """Which engine answers each slot: one finding for speech, and one for language models."""
    async with ports.database.acquire() as connection:
        remote = await slot_queries.count_remote(connection)
    return [
        Finding("speech engines", "ok", _told(SPEECH_SLOTS, remote)),
        Finding("language engines", "ok", _told(LANGUAGE_SLOTS, remote)),
    ]


def _told(slots: Sequence[Slot], remote: Sequence[EngineCountRow]) -> str:
    """The slots, those with the same engines together, such as `gemini, openai: local`."""
    by_engines: dict[str, list[str]] = {}
    for slot in slots:
        counts = [f"{each.engine} in {_worlds(each.worlds)}" for each in remote if each.slot == slot]
        told = f"{', '.join(counts)}, local in all others" if counts else "local"
        by_engines.setdefault(told, []).append(slot)
    return "; ".join(f"{', '.join(names)}: {told}" for told, names in by_engines.items())


def _worlds(count: int) -> str:
    return "1 world" if count == 1 else f"{count} worlds"


async def _finding(ports: Ports, row: OperatorSlotRow) -> Finding:
    where = f"{row.slot} of {row.project_id} ({row.mode})"
    async with ports.database.acquire() as connection:
        model = await work_queries.model_that_answered(connection, row.world_id, row.slot, row.updated_at)
    answered = f", {model} answered last" if model else ""
    detail = f"{where}: {row.engine} is asked for {row.model or _usual(row)}{answered}"
    if fault := await _refused(ports, row):
        return Finding("provider", "broken", f"{where}: {fault[0]}", fault[1])
    try:
        choice = stored_choice(ports.sealer, row)
        warnings = [*window_warnings(choice), *await model_warnings(ports, choice)]
    except SealBroken:  # `provider_keys` reports it
        warnings = []
    return Finding("provider", "warning" if warnings else "ok", detail, warnings[0] if warnings else None)


async def _refused(ports: Ports, row: OperatorSlotRow) -> tuple[str, str] | None:
    """Which address of a service of the operator's own no call may reach, and the remedy; None if none."""
    if row.base_url is None or region_of(row.engine, row.base_url) is not None:
        return None
    from yarl import URL  # noqa: PLC0415

    from lapel.foundation.outbound.guarded_connector import refusal_of  # noqa: PLC0415  # HTTP is not small
    from lapel.foundation.outbound.lookups import Lookups, system_lookup  # noqa: PLC0415

    lookups = Lookups(system_lookup, _LIMIT)
    refused = await refusal_of(OutboundPolicy.of(ports.settings), lookups, URL(row.base_url))
    if refused is None:
        return None
    return f"{row.base_url} leads to {refused.address}, which no call may reach", str(refused)


def _usual(row: OperatorSlotRow) -> str:
    from lapel.slices.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415  # HTTP

    if row.slot in LANGUAGE_SLOTS:
        from lapel.slices.language_models.engines.model_choice import usual_model  # noqa: PLC0415  # HTTP

        return usual_model(row.engine)
    usual = {
        "deepgram": deepgram.MODEL, "assemblyai": ",".join(assemblyai.MODELS),
        "elevenlabs": elevenlabs.MODEL, "openai": openai.MODEL,
    }  # fmt: skip
    return usual.get(row.engine, "")


def window_warnings(choice: SlotChoice) -> list[str]:
    """A sentence if the window of a language model is unknown; otherwise no sentence."""
    if choice.slot not in LANGUAGE_SLOTS or at_vendor(choice) or choice.context_tokens is not None:
        return []
    setting = f"`lapel providers set {choice.slot} --context-tokens NUMBER`"
    return [f"The window of this server's model is not known, and taken to be small. Set it: {setting}."]


async def model_warnings(ports: Ports, choice: SlotChoice) -> list[str]:
    """A sentence if it is known on which day the service ends the slot's model; otherwise no sentence.

    Only OpenAI's API names the day (`GET /models/{id}`), and only for some models. A service that does not
    answer causes no warning, because its transcripts may still work.
    """
    if choice.engine != "openai" or choice.slot not in SPEECH_SLOTS:
        return []
    from lapel.slices.providers.http.provider_client import Patience  # noqa: PLC0415  # HTTP is not small
    from lapel.slices.transcription.providers.openai import OpenAI  # noqa: PLC0415

    patience = Patience(connect=_LIMIT, answer=_LIMIT, total=_LIMIT)
    service = OpenAI(choice, ports.clock, patience, OutboundPolicy.of(ports.settings))
    try:
        day = await service.shutdown_date()
    except (SpeechError, TryAgain):
        return []
    if day is None:
        return []
    ends = f"The service ends its model {service.model} on {day.isoformat()}."
    return [f"{ends} Choose another model before that day: `lapel providers set {choice.slot} --model NAME`."]
