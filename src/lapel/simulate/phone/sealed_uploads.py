"""Encrypted uploads of all devices: each has its own firmware, and a phone with notes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID

import msgspec

from lapel.simulate.backend import Backend
from lapel.simulate.client.caller import SimulationError
from lapel.simulate.client.meter import Meter
from lapel.simulate.device.audio import Recorder
from lapel.simulate.device.device import Pending, SimulatedDevice, dice_of
from lapel.simulate.device.uploads import seconds_of_audio
from lapel.simulate.journal import Announcing, Journal, Promised, Violation
from lapel.simulate.phone.strict_answers import SessionReply
from lapel.simulate.phone.strict_caller import StrictCaller
from lapel.simulate.phone.upload_note import UploadNote, UploadNotes
from lapel.simulate.phone.upload_run import PhoneCrashed, PhoneTools, UploadPlace, UploadRun
from lapel.simulate.plan import FleetPlan
from lapel.simulate.sealing.audio_seal import SealedAudio
from lapel.simulate.sealing.device_refusals import DeviceRefusal
from lapel.simulate.sealing.sealing_device import Provisioning, SealingDevice

POLL = 2.0  # seconds between two looks at a session, in the device's time
_SHORTEST_POLL = 0.1  # seconds
_FIRST_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class PublishedSession(msgspec.Struct, frozen=True):
    """A session whose receipt a device has verified."""

    session_id: str
    owner_revision: int
    recording_id: str
    device_id: str
    end_user_id: str


class SealedCounts(msgspec.Struct, frozen=True):
    """Recordings that devices sealed, by what is known at the end. `restarts`: of phones, with devices."""

    made: int
    published: int
    on_devices: int
    restarts: int


class _Owned(NamedTuple):
    firmware: SealingDevice
    notes: UploadNotes
    dice: Random


class SealedUploads:
    """Uploads what devices have sealed until each device has deleted its copy on a receipt.

    `sessions`: the published ones so far.
    """

    outlives_binding = True

    def __init__(
        self,
        caller: StrictCaller,
        backend: Backend,
        plan: FleetPlan,
        meter: Meter,
        journal: Journal,
        provisioning: Provisioning,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`provisioning`: of all devices. `clock`: Unix seconds."""
        self.sessions: list[PublishedSession] = []
        self._backend = backend
        self._plan = plan
        self._meter = meter
        self._journal = journal
        self._provisioning = provisioning
        self._recorder = Recorder()
        self._owned: dict[int, _Owned] = {}
        self._tools = PhoneTools(
            caller,
            lambda: backend.key,
            clock,
            max(POLL / plan.speed, _SHORTEST_POLL),
            backend.recording_that_began,
        )

    def record(self, device: SimulatedDevice) -> Pending:
        """Makes the device's next recording, and seals it."""
        number = device.recordings
        uuid = device.uuid_of(self._plan, number)
        audio = self._recorder.record(seconds_of_audio(self._plan, device, number), uuid)
        owned = self._of(device)
        sealed = owned.firmware.store(number, audio.data, UUID(uuid))
        began = _FIRST_BEGIN + timedelta(minutes=number)
        note = UploadNote(
            started_at=_shown(began),
            ended_at=_shown(began + timedelta(milliseconds=audio.duration_ms)),
            channel="wifi" if number % 5 == 4 else "ble",
            ciphertext_length=len(sealed.data),
            ciphertext_sha256=sealed.sha256,
            plaintext_length=sealed.plaintext_length,
        )
        owned.notes.save(number, note)
        # Until its session is made, the server knows the recording only by its time.
        self._journal.write(Announcing(device.index, note.started_at))
        self._journal.write(Announcing(device.index, uuid))
        return Pending(number)

    async def advance(self, device: SimulatedDevice, pending: Pending) -> bool:
        """Runs the upload until the device deletes its copy. False: phone and device restarted on the way.

        Raises CallFailed when a call gets no expected answer, and SimulationError when an answer breaks the
        contract or the device refuses a document.
        """
        number = pending.number
        owned = self._of(device)
        place = UploadPlace(
            device.id,
            self._backend.end_user_id(device.end_user),
            device.generation,
            device.uuid_of(self._plan, number),
            number,
        )
        upload = UploadRun(self._tools, place, owned.firmware, owned.notes, owned.dice)
        try:
            session = await upload.run()
            receipt = await upload.receipt(session)
            sealed = owned.firmware.confirm(number, receipt)
            if sealed is not None:
                self._published(device, place, session, sealed)
        except PhoneCrashed:
            owned.firmware.restart()
            self._meter.counts["phones restarted"] += 1
            return False
        except DeviceRefusal as refusal:
            raise SimulationError(f"the device refuses a document: {refusal}") from refusal
        owned.notes.forget(number)
        return True

    def count_copies(self, devices: Iterable[SimulatedDevice]) -> SealedCounts:
        """Counts what devices have sealed. What is neither on its device nor deleted on a receipt is noted as
        a violation."""
        made = left = 0
        for device in devices:
            made += device.recordings
            for number in range(1, device.recordings + 1):
                firmware = self._of(device).firmware
                if firmware.holds(number):
                    left += 1
                elif not firmware.has_receipt(number):
                    detail = f"recording {device.uuid_of(self._plan, number)}"
                    self._journal.write(Violation(device.index, "copy lost", detail))
        return SealedCounts(made, len(self.sessions), left, self._meter.counts["phones restarted"])

    def _published(
        self, device: SimulatedDevice, place: UploadPlace, session: SessionReply, sealed: SealedAudio
    ) -> None:
        self._journal.write(
            Promised(
                device.index,
                place.uuid,
                session.recording_id,
                None,
                sealed.plaintext_sha256.hex(),
                sealed.plaintext_length,
            )
        )
        self._meter.counts["uploads promised"] += 1
        self.sessions.append(
            PublishedSession(
                session.session_id,
                session.owner_revision,
                session.recording_id,
                session.device_id,
                session.end_user_id,
            )
        )

    def _of(self, device: SimulatedDevice) -> _Owned:
        owned = self._owned.get(device.index)
        if owned is None:
            dice = dice_of(self._plan, device, "phone", 0)
            firmware = SealingDevice(device.serial_number, self._provisioning, dice, self._tools.clock)
            owned = self._owned[device.index] = _Owned(firmware, UploadNotes(), dice)
        return owned


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
