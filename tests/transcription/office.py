"""A server of its own, a remote provider that answers at once, and somebody who uploads speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapel.sample import speech
from lapel.slices.providers.choice import Slot, SlotChoice, SpeechEngine
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.slots import sealed
from tests.recordings.support import Device
from tests.support.beginning import Beginning
from tests.support.client import api_client
from tests.support.patience import Deadline, patience
from tests.support.running import Running, running, working
from tests.support.speech_providers import KEY, Fake, serving_fake
from tests.support.tenants import make_tenant

SPEECH = speech().data
BEGINNING = Beginning().data  # five seconds of it
LONGEST_PAUSE = 0.5  # seconds between two questions about work that takes long
SLOW = 100.0  # seconds that anything may take on a busy machine


@dataclass(frozen=True)
class Office(Device):
    """A tenant whose slot `deepgram` is answered by the fake."""

    live: Running
    fake: Fake

    async def transcribe(self, content: bytes = BEGINNING, **wish: Any) -> tuple[str, str]:
        """Upload and ask; the ids of recording and transcription."""
        recording_id, _ = await self.upload(content)
        body = {"recording_id": recording_id, "provider": "deepgram", **wish}
        return recording_id, (await self.post("/v1/transcriptions", 201, body))["id"]

    async def get(self, transcription_id: str) -> dict[str, Any]:
        """The transcription as it is."""
        return await self.call("GET", f"/v1/transcriptions/{transcription_id}", 200)

    async def ended(self, transcription_id: str, seconds: float = SLOW) -> dict[str, Any]:
        """The transcription, once it has ended."""
        deadline, pause = Deadline(seconds), 0.05
        while (now := await self.get(transcription_id))["status"] in ("pending", "processing"):
            assert not deadline.has_passed(), now
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)
        return now

    async def until_transcribed(self, recording_id: str) -> str:
        """Wait until the recording has a transcription by itself; its id."""
        deadline, pause = Deadline(SLOW), 0.02
        while (found := (await self.read(recording_id))["transcription_id"]) is None:
            assert not deadline.has_passed()
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, LONGEST_PAUSE)
        return found

    async def until_called(self, count: int = 1) -> None:
        """Wait until the fake was called so often."""
        async with patience(SLOW):
            while len(self.fake.calls) < count:  # noqa: ASYNC110 - another server's counter
                await asyncio.sleep(0.02)

    async def until_nothing_is_kept(self) -> None:
        """Wait until the fake has been told to delete everything, and our side knows it."""
        async with patience(SLOW):
            while self.fake.kept or await self.value("SELECT count(*) FROM remote_copies"):  # noqa: ASYNC110 - another process's work
                await asyncio.sleep(0.1)

    async def value(self, sql: str, *given: object) -> Any:
        """One value from the database."""
        async with self.live.ports.database.acquire() as connection:
            return await connection.fetchval(sql, *given)

    async def set_slot(self, slot: Slot, engine: SpeechEngine, url: str, world_id: int | None = None) -> None:
        """Let an engine at this address answer a slot."""
        world_id = world_id or self.tenant.test_world
        ports = self.live.ports
        choice = SlotChoice(slot=slot, engine=engine, base_url=url, key=KEY)
        async with ports.database.acquire() as connection:
            key = sealed(ports.sealer, world_id, choice)
            await slot_queries.put(connection, world_id, choice, key, ports.clock.now())


@asynccontextmanager
async def office(
    folder: Path,
    database: str,
    *,
    worker: bool = True,
    engine: SpeechEngine = "deepgram",
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Office]:
    """Open for a block; with a worker in this process, or for one that the test brings. `engine`: who answers
    the slot `deepgram`. `settings` are LAPEL_* variables."""
    async with AsyncExitStack() as stack:
        own = {"LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8", **(settings or {})}  # the fake is on loopback
        live = await stack.enter_async_context(running(folder, database, clock=None, **own))
        client = await stack.enter_async_context(api_client(live.url))
        fake = await stack.enter_async_context(serving_fake(Fake(engine, decode=False, polls=0)))
        tenant = await make_tenant(live.ports)
        if worker:
            await stack.enter_async_context(working(live))
        made = Office(client, tenant, tenant.headers, live, fake)
        await made.set_slot("deepgram", engine, f"{fake.url}/v1" if engine == "openai" else fake.url)
        yield made
