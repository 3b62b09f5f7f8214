"""A phone and a device at a fake cloud."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from uuid import UUID

import aiohttp

from lapel.simulate.client.meter import Meter
from lapel.simulate.phone.strict_caller import StrictCaller
from lapel.simulate.phone.upload_note import UploadNote, UploadNotes
from lapel.simulate.phone.upload_run import PhoneCrashed, PhoneTools, UploadPlace, UploadRun
from lapel.simulate.sealing.sealing_device import Provisioning, SealingDevice
from lapel.simulate.sealing.signed_documents import public_keys
from tests.simulate.fake_cloud import SERIAL, FakeCloud, fake_cloud

RECORDING = UUID("00112233-4455-4677-8899-aabbccddeeff")
PLAIN = bytes(range(256)) * 40
USUAL = ["recordings", "sessions", "manifest", "staging-url", "put", "manifest", "session", "session"]


class Steady(Random):
    """Draws nothing that happens seldom; keys and nonces are drawn as usual."""

    lowest = 0.999

    def random(self) -> float:
        return self.lowest


class Crashing(Steady):
    """The phone crashes after the answer with that number, counted from 1."""

    def __init__(self, at: int) -> None:
        super().__init__(1)
        self.left = at

    def random(self) -> float:
        self.left -= 1
        return 0.0 if self.left == 0 else self.lowest


@dataclass
class Phone:
    """A device and a phone at a fake cloud."""

    cloud: FakeCloud
    firmware: SealingDevice
    notes: UploadNotes
    tools: PhoneTools

    def run_of(self, dice: Random | None = None) -> UploadRun:
        """The next run of the app."""
        place = UploadPlace("dev_1", "eu_1", self.cloud.generation, str(RECORDING), 1)
        return UploadRun(self.tools, place, self.firmware, self.notes, dice or Steady(1))

    async def upload(self, dice: Random | None = None) -> None:
        """One run, to the receipt and the deletion of the copy."""
        run = self.run_of(dice)
        try:
            proof = await run.receipt(await run.run())
        except PhoneCrashed:
            self.firmware.restart()
            raise
        assert self.firmware.confirm(1, proof) is not None


@asynccontextmanager
async def phone_at_fake_cloud() -> AsyncGenerator[Phone]:
    """A device with one recording, and its phone, at a cloud of their own."""
    async with fake_cloud() as cloud, aiohttp.ClientSession() as session:
        provisioning = Provisioning(public_keys({1: cloud.public_key}), 2)
        firmware = SealingDevice(SERIAL, provisioning, Steady(3), lambda: cloud.now)
        sealed = firmware.store(1, PLAIN, RECORDING)
        notes = UploadNotes()
        notes.save(
            1,
            UploadNote(
                started_at="2026-01-01T00:00:00.000Z",
                ended_at="2026-01-01T00:00:09.000Z",
                channel="ble",
                ciphertext_length=len(sealed.data),
                ciphertext_sha256=sealed.sha256,
                plaintext_length=len(PLAIN),
            ),
        )
        caller = StrictCaller(session, cloud.url, Meter(), Steady(1), 0)
        yield Phone(
            cloud, firmware, notes, PhoneTools(caller, lambda: "token", lambda: cloud.now, 0.0, cloud.find)
        )
