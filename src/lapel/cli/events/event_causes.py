"""What causes each type of event: calls that a backend and a device would make, in the test world."""

from __future__ import annotations

import asyncio
import hashlib
import io
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.events.gone_receiver import gone_receiver
from lapel.sample import speech
from lapel.simulate.client.caller import CallFailed, SimulationError
from lapel.simulate.client.wire import AssignmentReply, Bound, CreatedReply, UploadReply

if TYPE_CHECKING:
    from lapel.simulate.client.caller import Caller

SCOPES = (
    "config:read",
    "config:write",
    "devices:read",
    "devices:write",
    "end_users:read",
    "end_users:write",
    "firmware:write",
    "recordings:read",
    "recordings:write",
    "summaries:read",
    "summaries:write",
    "transcriptions:read",
    "transcriptions:write",
    "webhooks:read",
    "webhooks:write",
)
_NOISE = b"This is no audio. " * 1000
# Seconds until a delivery must have come to this machine.
_DELIVERS = 30.0
_REFUSED = 400
# Seconds that a transcription may take, and seconds between two looks at it.
_TRANSCRIBES, _PAUSE = 600, 0.5


@dataclass(frozen=True, slots=True)
class TriggeredDevice:
    """A new device of a new end user."""

    id: str
    token: str


class Causes:
    """Makes new resources for each event. `run` is in the names of what is made.

    The methods return the id of the event's resource. They raise CallFailed when a call gets no expected
    answer, and SimulationError when an answer breaks the contract.
    """

    def __init__(self, caller: Caller, key: str, run: str) -> None:
        self._caller = caller
        self._key = key
        self._run = run

    async def recording_created(self) -> str:
        """A device announces a recording."""
        return await self._recording(await self._device())

    async def recording_uploaded(self) -> str:
        """A device uploads the sample."""
        sample = speech()
        return await self._uploaded(sample.data, sample.content_type)

    async def recording_failed(self) -> str:
        """A device declares another SHA-256 than that of the bytes that it uploads."""
        device = await self._device()
        recording_id = await self._recording(device)
        await self._upload(device, recording_id, _NOISE, "audio/ogg", sha256="0" * 64, expected=409)
        return recording_id

    async def recording_deleted(self) -> str:
        """A recording is deleted."""
        recording_id = await self._recording(await self._device())
        await self._call("DELETE", f"/recordings/{recording_id}", expected=204)
        return recording_id

    async def transcription(self) -> str:
        """The sample is uploaded and transcribed."""
        return await self._transcribed(await self.recording_uploaded())

    async def transcription_failed(self) -> str:
        """A file that is no audio is uploaded and transcribed."""
        return await self._transcribed(await self._uploaded(_NOISE, "audio/ogg"))

    async def summary(self) -> str:
        """The sample is uploaded, transcribed and summarized."""
        return await self._summarized(await self.transcription())

    async def summary_failed(self) -> str:
        """Three seconds of silence are uploaded, transcribed and summarized."""
        return await self._summarized(await self._transcribed(await self._uploaded(_silence(), "audio/wav")))

    async def device_bound(self) -> str:
        """A new device is bound to a new end user."""
        return (await self._device()).id

    async def device_unbound(self) -> str:
        """A device is bound and unbound."""
        device = await self._device()
        await self._call("POST", f"/devices/{device.id}/unbind")
        return device.id

    async def device_low_battery(self) -> str:
        """A device reports 5 % of battery."""
        device = await self._device()
        await self._beat(device, {"battery_percent": 5})
        return device.id

    async def device_offline(self) -> str:
        """A device sends one heartbeat, and is then silent."""
        device = await self._device()
        await self._beat(device, {"battery_percent": 80})
        return device.id

    async def config_updated(self) -> str:
        """A device gets an override of its own."""
        device = await self._device()
        await self._call("PATCH", f"/devices/{device.id}/config/upload", {"allow_roaming": True})
        return device.id

    async def ota_applied(self) -> str:
        """A tiny release is offered to a device, which reports the release's version."""
        device, assignment_id, version = await self._offered()
        await self._beat(device, {"firmware_version": version})
        return assignment_id

    async def ota_failed(self) -> str:
        """A tiny release is offered to a device, which reports that it cannot install it."""
        device, assignment_id, _ = await self._offered()
        result = {"assignment_id": assignment_id, "status": "failed", "error_message": "lapel trigger"}
        await self._beat(device, {"ota_result": result})
        return assignment_id

    async def webhook_disabled(self) -> str:
        """A webhook leads to this machine, where a receiver answers its test event with 410."""
        async with gone_receiver() as (url, answered):
            body = {"url": url, "events": ["webhook.disabled"], "description": "lapel trigger"}
            try:
                made = await self._caller.api(
                    "webhook", "POST", "/webhooks", self._key, body, expected=(201,)
                )
            except CallFailed as fault:
                if fault.status != _REFUSED:
                    raise
                raise SimulationError(
                    "the server refuses a webhook that leads to this machine. Start the server with "
                    "LAPEL_OUTBOUND_NETWORKS=127.0.0.0/8. For a test event, without a disabled webhook, "
                    'POST /v1/webhooks/ID/test with {"type": "webhook.disabled"}.'
                ) from fault
            webhook_id = made.read(CreatedReply).id
            await self._call("POST", f"/webhooks/{webhook_id}/test", {"type": "device.bound"}, expected=202)
            try:
                async with asyncio.timeout(_DELIVERS):
                    await answered.wait()
            except TimeoutError:
                raise SimulationError(
                    f"no delivery came to this machine within {_DELIVERS:.0f} s. The server must run on this "
                    "machine, with a worker."
                ) from None
        return webhook_id

    @property
    def _model(self) -> str:
        return f"trigger_{self._run}"

    async def _call(
        self, method: str, path: str, body: dict[str, object] | None = None, *, expected: int = 200
    ) -> bytes:
        answer = await self._caller.api(path, method, path, self._key, body, expected=(expected,))
        return answer.content

    async def _device(self) -> TriggeredDevice:
        caller, key = self._caller, self._key
        name = {"name": "lapel trigger"}
        person = await caller.api("end user", "POST", "/end-users", key, name, expected=(201,))
        facts = {
            "serial_number": f"TRIGGER{self._run.upper()}",
            "model": self._model,
            "firmware_version": "1.0.0",
        }
        device = await caller.api("device", "POST", "/devices", key, facts, expected=(201,))
        device_id = device.read(CreatedReply).id
        path = f"/devices/{device_id}/bind"
        bound = await caller.api("bind", "POST", path, key, {"end_user_id": person.read(CreatedReply).id})
        return TriggeredDevice(device_id, bound.read(Bound).device_token)

    async def _beat(self, device: TriggeredDevice, report: dict[str, object]) -> None:
        await self._caller.api("heartbeat", "POST", "/devices/me/heartbeat", device.token, report)

    async def _recording(self, device: TriggeredDevice) -> str:
        made = await self._caller.api(
            "recording", "POST", "/recordings", device.token, {"name": "lapel trigger"}, expected=(201,)
        )
        return made.read(CreatedReply).id

    async def _uploaded(self, data: bytes, content_type: str) -> str:
        device = await self._device()
        recording_id = await self._recording(device)
        sha256 = hashlib.sha256(data).hexdigest()
        await self._upload(device, recording_id, data, content_type, sha256=sha256, expected=200)
        return recording_id

    async def _upload(
        self,
        device: TriggeredDevice,
        recording_id: str,
        data: bytes,
        content_type: str,
        *,
        sha256: str,
        expected: int,
    ) -> None:
        """Upload, and complete with a SHA-256; `expected`: the status of the completion."""
        path = f"/recordings/{recording_id}"
        asked = await self._caller.api(
            "upload-url", "POST", f"{path}/upload-url", device.token, {"content_type": content_type}
        )
        upload = asked.read(UploadReply)
        await self._caller.put(upload.upload_url, upload.headers, data, (200,))
        body = {"content_sha256": sha256}
        await self._caller.api(
            "complete", "POST", f"{path}/upload-complete", device.token, body, expected=(expected,)
        )

    async def _transcribed(self, recording_id: str) -> str:
        made = await self._caller.api(
            "transcription",
            "POST",
            "/transcriptions",
            self._key,
            {"recording_id": recording_id},
            expected=(201,),
        )
        return made.read(CreatedReply).id

    async def _summarized(self, transcription_id: str) -> str:
        path = f"/transcriptions/{transcription_id}"
        async with asyncio.timeout(_TRANSCRIBES):
            while not _STATUS.decode(await self._call("GET", path)).has_ended:  # noqa: ASYNC110 - another process's work
                await asyncio.sleep(_PAUSE)
        body = {"transcription_id": transcription_id, "template": "general_notes"}
        made = await self._caller.api("summary", "POST", "/summaries", self._key, body, expected=(201,))
        return made.read(CreatedReply).id

    async def _offered(self) -> tuple[TriggeredDevice, str, str]:
        """A device to which a tiny release is offered and delivered; the assignment; the version."""
        device = await self._device()
        fields = {"version": "2.0.0", "model": self._model}
        made = await self._caller.form("firmware", "/firmware-releases", self._key, fields, b"lapel trigger")
        release_id = made.read(CreatedReply).id
        await self._call("POST", f"/firmware-releases/{release_id}/release")
        offered = await self._caller.api(
            "offer",
            "POST",
            f"/devices/{device.id}/ota",
            self._key,
            {"firmware_release_id": release_id},
            expected=(200, 201),
        )
        await self._beat(device, {"firmware_version": "1.0.0"})
        return device, offered.read(AssignmentReply).id, fields["version"]


class _TranscriptionStatus(msgspec.Struct):
    status: str

    @property
    def has_ended(self) -> bool:
        return self.status in ("completed", "failed")


_STATUS = msgspec.json.Decoder(_TranscriptionStatus)


def _silence() -> bytes:
    """A WAV file of three seconds without a sound."""
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(16_000)
        made.writeframes(bytes(3 * 32_000))
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class EventCause:
    """How an event is caused, in words and as a method. `seconds`: how long the event may take."""

    told: str
    run: Callable[[Causes], Awaitable[str]]
    seconds: float = 30


CAUSES = {
    "recording.created": EventCause("a device announces a recording", Causes.recording_created),
    "recording.uploaded": EventCause("a device uploads 25 s of speech", Causes.recording_uploaded),
    "recording.failed": EventCause(
        "a device declares a wrong SHA-256 for its upload", Causes.recording_failed
    ),
    "recording.deleted": EventCause("a recording is deleted", Causes.recording_deleted),
    "transcription.started": EventCause("25 s of speech are transcribed", Causes.transcription, _TRANSCRIBES),
    "transcription.completed": EventCause(
        "25 s of speech are transcribed", Causes.transcription, _TRANSCRIBES
    ),
    "transcription.failed": EventCause(
        "a file that is no audio is transcribed", Causes.transcription_failed, _TRANSCRIBES
    ),
    "summary.started": EventCause("25 s of speech are summarized", Causes.summary, _TRANSCRIBES),
    "summary.completed": EventCause("25 s of speech are summarized", Causes.summary, _TRANSCRIBES),
    "summary.failed": EventCause("silence is summarized", Causes.summary_failed, _TRANSCRIBES),
    "device.bound": EventCause("a device is bound to an end user", Causes.device_bound),
    "device.unbound": EventCause("a device is bound and unbound", Causes.device_unbound),
    "device.low_battery": EventCause("a device reports 5 % of battery", Causes.device_low_battery),
    "device.offline": EventCause(
        "a device sends one heartbeat; about 15 minutes later it counts as offline",
        Causes.device_offline,
        20 * 60,
    ),
    "config.updated": EventCause(
        "the configuration of a device allows uploads in roaming", Causes.config_updated
    ),
    "ota.applied": EventCause("a device reports the version of a tiny release", Causes.ota_applied),
    "ota.failed": EventCause("a device reports that it cannot install a tiny release", Causes.ota_failed),
    "webhook.disabled": EventCause(
        "a webhook's receiver answers 410, on this machine; the server must run here, with "
        "LAPEL_OUTBOUND_NETWORKS=127.0.0.0/8",
        Causes.webhook_disabled,
    ),
}
# These come much later than what causes them, so the command waits for them only if asked to.
LATE = frozenset({"device.offline"})
