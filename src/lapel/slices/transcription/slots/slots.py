"""The engine that transcribes for a slot in one world.

A slot is one of the names that clients may send as `provider`. If no engine is set for a slot, the local
engine transcribes for it. This module also encrypts and decrypts the keys of services (`sealed`, `opened`).
It serves the work on audio; operator.py serves the operator, who sets the engines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lapel.foundation.identity.seal import SealBroken
from lapel.slices.transcription.providers.choice import SlotChoice
from lapel.slices.transcription.slots import slot_queries
from lapel.slices.transcription.speech.failures import SpeechError

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.transcription.providers.choice import Engine, Slot
    from lapel.slices.transcription.providers.http.provider_client import Patience
    from lapel.slices.transcription.providers.protocol import Remember, Transcriber
    from lapel.slices.transcription.rows import SlotRow


async def engine_of(connection: Connection, sealer: Sealer, world_id: int, slot: Slot) -> SlotChoice:
    """The engine of a slot in a world. Raises SpeechError when the slot's key can no longer be read."""
    row = await slot_queries.read(connection, world_id, slot)
    if row is None:
        return SlotChoice(slot=slot)
    try:
        return stored_choice(sealer, row)
    except SealBroken:
        raise SpeechError(
            "provider_error",
            f"The key for {slot} was sealed under another secret. Set it again: `lapel providers set {slot} "
            "--key-file FILE`, or name the former secret in LAPEL_SECRET_PREVIOUS.",
        ) from None


def stored_choice(sealer: Sealer, row: SlotRow) -> SlotChoice:
    """The engine that a slot's settings name, with its key. Raises SealBroken, as `opened` does."""
    return SlotChoice(
        slot=row.slot,
        engine=row.engine,
        model=row.model,
        base_url=row.base_url,
        key=opened(sealer, row),
        allow_training=row.allow_training,
    )


def transcriber(
    choice: SlotChoice,
    *,
    local: Callable[[str | None], Transcriber],
    clock: Clock,
    policy: OutboundPolicy,
    remember: Remember,
    patience: Patience | None = None,
) -> Transcriber:
    """The Transcriber of the chosen engine.

    `local` makes the local Transcriber from a model's name, or from None for the model of the settings.
    `policy`: the addresses that a remote engine may have.
    `remember` is called for every copy that the provider keeps; remote_copies.py deletes the copies.
    """
    if choice.engine == "local":
        return local(choice.model)
    # Imported on demand, so that a process that sends nothing does not load the network code.
    from lapel.slices.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415
    from lapel.slices.transcription.providers.http import provider_client  # noqa: PLC0415

    patience = patience or provider_client.Patience()
    match choice.engine:
        case "deepgram":
            return deepgram.Deepgram(choice, clock, patience, policy)
        case "assemblyai":
            return assemblyai.AssemblyAI(choice, clock, patience, policy, remember)
        case "elevenlabs":
            return elevenlabs.ElevenLabs(choice, clock, patience, policy, remember)
        case "openai":
            return openai.OpenAI(choice, clock, patience, policy)


def sealed(sealer: Sealer, world_id: int, choice: SlotChoice) -> bytes | None:
    """The key, encrypted for storage; None without a key.

    Only a slot with the same world, name, engine and base URL can decrypt it.
    """
    if choice.key is None:
        return None
    context = _context(world_id, choice.slot, choice.engine, choice.base_url)
    return sealer.seal(choice.key.encode(), context)


def opened(sealer: Sealer, row: SlotRow) -> str | None:
    """The key of a slot in plain text; None without a key.

    Raises SealBroken if the key was sealed under another secret, or for another world, slot, engine or base
    URL.
    """
    if row.sealed_key is None:
        return None
    context = _context(row.world_id, row.slot, row.engine, row.base_url)
    return sealer.open(row.sealed_key, context).decode()


def _context(world_id: int, slot: Slot, engine: Engine, base_url: str | None) -> bytes:
    return f"provider:{world_id}:{slot}:{engine}:{base_url or ''}".encode()
