"""The Transcriber that a slot's setting names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lapel.slices.providers.service import SlotChoice, choice_of
from lapel.slices.transcription.providers.speech_failures import speech_failures
from lapel.slices.transcription.speech.failures import SpeechError

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.provider_client import Patience
    from lapel.slices.providers.service import Engine, SpeechEngine, SpeechSlot
    from lapel.slices.transcription.providers.protocol import Remember, Transcriber


async def speech_choice(
    connection: Connection, sealer: Sealer, world_id: int, slot: SpeechSlot
) -> SlotChoice:
    """The engine of a slot in a world, with its key. Raises SpeechError when the key cannot be read."""
    with speech_failures():
        return await choice_of(connection, sealer, world_id, slot)


def speech_engine(engine: Engine) -> SpeechEngine:
    """The engine itself. Raises SpeechError for an engine that does not transcribe."""
    if engine in ("anthropic", "gemini"):
        raise SpeechError("provider_error", f"{engine} does not transcribe.")
    return engine


def transcriber(
    choice: SlotChoice,
    *,
    local: Callable[[str | None], Transcriber],
    clock: Clock,
    policy: OutboundPolicy,
    remember: Remember,
    patience: Patience | None = None,
) -> Transcriber:
    """The Transcriber of the chosen engine. Raises SpeechError for an engine that does not transcribe.

    `local` makes the local Transcriber from a model's name, or from None for the model of the settings.
    `policy`: the addresses that a remote engine may have.
    `remember` is called for every copy that the provider keeps; remote_copies.py deletes the copies.
    """
    engine = speech_engine(choice.engine)
    if engine == "local":
        return local(choice.model)
    # Imported on demand, so that a process that sends nothing does not load the network code.
    from lapel.slices.providers.http import provider_client  # noqa: PLC0415
    from lapel.slices.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415

    patience = patience or provider_client.Patience()
    match engine:
        case "deepgram":
            return deepgram.Deepgram(choice, clock, patience, policy)
        case "assemblyai":
            return assemblyai.AssemblyAI(choice, clock, patience, policy, remember)
        case "elevenlabs":
            return elevenlabs.ElevenLabs(choice, clock, patience, policy, remember)
        case "openai":
            return openai.OpenAI(choice, clock, patience, policy)
