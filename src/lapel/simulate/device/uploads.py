"""The upload of a recording by a device, step by step. Each step may be repeated."""

from __future__ import annotations

from typing import Protocol

from lapel.simulate.client.caller import Caller
from lapel.simulate.client.meter import Meter
from lapel.simulate.client.wire import CreatedReply, RecordingReply, UploadReply
from lapel.simulate.device.audio import Recorder, SampleAudio
from lapel.simulate.device.device import Pending, SimulatedDevice, dice_of
from lapel.simulate.journal import Announcing, Journal, Promised
from lapel.simulate.plan import FleetPlan

_SHORTEST, _LONGEST = 2, 40  # seconds of audio


class RecordingUploads(Protocol):
    """How devices upload what they record.

    `outlives_binding`: whether a recording can still be uploaded when its device is unbound and bound again
    to the same end user.
    """

    outlives_binding: bool

    def record(self, device: SimulatedDevice) -> Pending:
        """Makes the device's next recording."""
        ...

    async def advance(self, device: SimulatedDevice, pending: Pending) -> bool:
        """Goes on with the recording's upload. Returns True when it has ended.

        Raises CallFailed when a call gets no expected answer, and SimulationError when an answer breaks the
        contract.
        """
        ...


def seconds_of_audio(plan: FleetPlan, device: SimulatedDevice, number: int) -> float:
    """The length of the device's recording with that number; it is the same at each call."""
    return dice_of(plan, device, "audio", number).uniform(_SHORTEST, _LONGEST)


class Uploader:
    """Uploads pending recordings until the server promises to keep them."""

    outlives_binding = False  # the device's token reaches only recordings of the present binding

    def __init__(self, caller: Caller, plan: FleetPlan, meter: Meter, journal: Journal) -> None:
        self._caller = caller
        self._plan = plan
        self._meter = meter
        self._journal = journal
        self._recorder = Recorder()

    def record(self, device: SimulatedDevice) -> Pending:
        """Makes the device's next recording."""
        return Pending(device.recordings)

    async def advance(self, device: SimulatedDevice, pending: Pending) -> bool:
        """Does the next step of the recording's upload. Returns True after the last step.

        Raises CallFailed when a call gets no expected answer, and SimulationError when an answer breaks the
        contract.
        """
        if pending.recording_id is None:
            await self._announce(device, pending)
            return False
        audio = self._audio(device, pending.number)
        if pending.upload is None:
            await self._ask(device, pending, audio, pending.recording_id)
            return False
        if not pending.is_stored:
            answer = await self._caller.put(
                pending.upload.upload_url, pending.upload.headers, audio.data, expected=(200, 403)
            )
            if answer.status == 200:
                pending.is_stored = True
            else:
                pending.upload = None  # the link expired while the device was offline
            return False
        await self._complete(device, pending, audio, pending.recording_id, pending.upload)
        return True

    def _audio(self, device: SimulatedDevice, number: int) -> SampleAudio:
        seconds = seconds_of_audio(self._plan, device, number)
        return self._recorder.record(seconds, device.uuid_of(self._plan, number))

    async def _announce(self, device: SimulatedDevice, pending: Pending) -> None:
        uuid = device.uuid_of(self._plan, pending.number)
        self._journal.write(Announcing(device.index, uuid))
        body = {"recording_uuid": uuid, "recording_generation": 1, "source": "device"}
        answer = await self._caller.api(
            "create recording", "POST", "/recordings", device.token, body, expected=(200, 201)
        )
        pending.recording_id = answer.read(CreatedReply).id

    async def _ask(
        self, device: SimulatedDevice, pending: Pending, audio: SampleAudio, recording_id: str
    ) -> None:
        body = {"content_type": "audio/opus", "file_size_bytes": len(audio.data), "sha256": audio.sha256}
        answer = await self._caller.api(
            "upload-url", "POST", f"/recordings/{recording_id}/upload-url", device.token, body
        )
        pending.upload = answer.read(UploadReply)

    async def _complete(
        self,
        device: SimulatedDevice,
        pending: Pending,
        audio: SampleAudio,
        recording_id: str,
        upload: UploadReply,
    ) -> None:
        body = {
            "content_sha256": audio.sha256,
            "file_size_bytes": len(audio.data),
            "duration_seconds": audio.duration_ms / 1000,
        }
        # One upload in five is completed with its upload token, as by a phone that has got the token from the
        # device.
        token = upload.upload_token if pending.number % 5 == 4 else device.token
        answer = await self._caller.api(
            "complete", "POST", f"/recordings/{recording_id}/upload-complete", token, body
        )
        uuid = device.uuid_of(self._plan, pending.number)
        if answer.read(RecordingReply).status == "uploaded":
            self._journal.write(
                Promised(device.index, uuid, recording_id, upload.media_id, audio.sha256, len(audio.data))
            )
            self._meter.counts["uploads promised"] += 1
        else:
            self._meter.errors["complete: 200 without `uploaded`"] += 1
