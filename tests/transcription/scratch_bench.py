"""Recordings, and the scratch folders of workers that transcribe them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.erasure.payloads import EraseRecording
from lapel.slices.erasure.service import Erasures, LocalCopies
from lapel.slices.recordings.service import Audio, audio_of
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.scratch_place import ScratchPlace
from tests.recordings.support import Device

SOUND = b"OggS" + bytes(200)
NEVER = 3600.0
URLS_HAVE_ENDED = timedelta(minutes=76)
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@dataclass(frozen=True)
class Bench:
    """Recordings, and workers' folders for their audio."""

    device: Device
    ports: Ports
    folder: Path

    @property
    def world_id(self) -> int:
        """The tenant's."""
        return self.device.tenant.test_world

    @asynccontextmanager
    async def scratch(
        self, *, listens: bool = True, look_seconds: float = NEVER, store: object | None = None
    ) -> AsyncGenerator[Scratch]:
        """A worker's, for a block."""
        copies = LocalCopies(self.ports.database, listen_dsn=None if listens else NOWHERE)
        objects = cast("ObjectStore", store or self.ports.store)
        made = Scratch(
            self.folder / "scratch", objects, self.ports.database, copies, look_seconds=look_seconds
        )
        await made.start()
        try:
            yield made
        finally:
            await made.close()

    async def upload(self) -> Audio:
        """A recording whose transcription is asked for, so that work on it waits."""
        recording_id, media_id = await self.device.upload(SOUND)
        await self.device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
        async with self.ports.database.acquire() as connection:
            audio = await audio_of(connection, self.world_id, recording_id, media_id)
        assert audio is not None
        return audio

    async def kept(self, scratch: Scratch, audio: Audio) -> ScratchPlace:
        """The audio, after a step whose next one waits."""
        async with scratch.working_on(self.world_id, audio.recording_id) as stay:
            async with scratch.audio(audio) as place:
                pass
            stay.next_waits = True
        assert place.file.read_bytes() == SOUND
        return place

    async def delete(self, audio: Audio) -> None:
        """Through the API."""
        await self.device.call("DELETE", f"/v1/recordings/{audio.recording_id}", 204)

    async def state(self, audio: Audio) -> str:
        """The ledger's, when all upload URLs have ended long ago and it was looked at twice."""
        page = await self.device.call("GET", "/v1/erasures", 200)
        entry = next(each["id"] for each in page["data"] if each["resource_id"] == audio.recording_id)
        erasures = Erasures(replace(self.ports, clock=ManualClock(self.ports.clock.now() + URLS_HAVE_ENDED)))
        for _ in range(2):
            await erasures.erase_recording(EraseRecording(self.world_id, entry))
        page = await self.device.call("GET", "/v1/erasures", 200)
        return next(each["state"] for each in page["data"] if each["id"] == entry)

    async def execute(self, statement: str, *given: object) -> None:
        """Change rows behind everybody's back."""
        async with self.ports.database.acquire() as connection:
            await connection.execute(statement, *given)
