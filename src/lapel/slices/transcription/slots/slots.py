"""The engine that answers a slot in a world of a project. A slot is a provider's name that clients ask for.

Without configuration the local engine answers all slots. The operator's changes are in operator.py; this
module has what the work needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lapel.foundation.identity.seal import SealBroken
from lapel.slices.transcription.providers.choice import Slot, SlotChoice
from lapel.slices.transcription.slots import slot_queries
from lapel.slices.transcription.speech.failures import SpeechError

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer
    from lapel.slices.transcription.providers.http.provider_client import Patience
    from lapel.slices.transcription.providers.protocol import Remember, Transcriber


async def engine_of(connection: Connection, sealer: Sealer, world_id: int, slot: Slot) -> SlotChoice:
    """The engine of a slot in a world. Raises SpeechError when its key can no longer be read."""
    row = await slot_queries.read(connection, world_id, slot)
    if row is None:
        return SlotChoice(slot=slot)
    engine, base_url, sealed = row["engine"], row["base_url"], row["sealed_key"]
    try:
        key = None if sealed is None else opened(sealer, sealed, world_id, slot, engine, base_url)
    except SealBroken:
        raise SpeechError(
            "provider_error",
            f"The key for {slot} was sealed under another secret. Set it again: `lapel providers set {slot} "
            "--key-file FILE`, or name the former secret in LAPEL_SECRET_PREVIOUS.",
        ) from None
    return SlotChoice(
        slot=slot, engine=engine, model=row["model"], base_url=base_url, key=key,
        allow_training=row["allow_training"],
    )  # fmt: skip


def transcriber(
    choice: SlotChoice,
    *,
    local: Callable[[str | None], Transcriber],
    clock: Clock,
    remember: Remember,
    patience: Patience | None = None,
) -> Transcriber:
    """The Transcriber of the chosen engine. `local` makes the local one; its argument is the model or None.

    `remember` is called for every copy that the provider keeps; remote_copies.py deletes them.
    """
    if choice.engine == "local":
        return local(choice.model)
    # Imported on demand: the network code is not loaded where nothing is sent.
    from lapel.slices.transcription.providers import assemblyai, deepgram, elevenlabs, openai  # noqa: PLC0415
    from lapel.slices.transcription.providers.http import provider_client  # noqa: PLC0415

    patience = patience or provider_client.Patience()
    match choice.engine:
        case "deepgram":
            return deepgram.Deepgram(choice, clock, patience)
        case "assemblyai":
            return assemblyai.AssemblyAI(choice, clock, patience, remember)
        case "elevenlabs":
            return elevenlabs.ElevenLabs(choice, clock, patience, remember)
        case "openai":
            return openai.OpenAI(choice, clock, patience)


def sealed(sealer: Sealer, key: str, world_id: int, slot: str, engine: str, base_url: str | None) -> bytes:
    """The key, encrypted for storage. It opens only with the same world, slot, engine and base URL."""
    return sealer.seal(key.encode(), _context(world_id, slot, engine, base_url))


def opened(sealer: Sealer, kept: bytes, world_id: int, slot: str, engine: str, base_url: str | None) -> str:
    """The key in plain text. Raises SealBroken if it was sealed under another secret or for another place."""
    return sealer.open(kept, _context(world_id, slot, engine, base_url)).decode()


def _context(world_id: int, slot: str, engine: str, base_url: str | None) -> bytes:
    return f"provider:{world_id}:{slot}:{engine}:{base_url or ''}".encode()
