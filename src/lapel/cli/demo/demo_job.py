"""The main job against a running server: the calls that a device and a backend make for one recording."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Mapping

import msgspec

from lapel.cli.demo.demo_calls import ANSWER_TIMEOUT, DemoCalls, DemoError, DemoStep, get_curl
from lapel.cli.demo.receiver import Receiver
from lapel.cli.demo.understanding import Understanding, understand
from lapel.sample import Sample
from lapel.slices.transcription.speech.word_error import word_error

# Seconds before the demo gives up on the transcript of 25 s of speech.
TRANSCRIPT_TIMEOUT = 300
FIRST_KIBIBYTE = "bytes=0-1023"
UPLOADED = "recording.uploaded"
BY_DEVICE = "LAPEL_DEVICE_TOKEN"


class HeardSpeech(msgspec.Struct, frozen=True, kw_only=True):
    """The transcript, compared with the sample's known text. `failure`: why there is no transcript.

    `word_error`: number of wrong, missing and additional words, divided by the number of words in the known
    text. `real_time_factor`: seconds of work per second of audio.
    """

    transcription_id: str
    text: str
    language: str | None
    model: str | None
    speakers: list[str]
    word_error: float | None
    real_time_factor: float | None
    failure: str | None


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of the event `recording.uploaded` to the demo's receiver.

    `signature`: its header `webhook-signature`, which fits the webhook's secret.
    """

    webhook_id: str
    event_id: str
    event_type: str
    signature: str


class DemoOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the job. The link works for an hour, if the server runs that long.

    `bytes`: size of the object. `understood`: None without a transcript.
    """

    end_user_id: str
    device_id: str
    recording_id: str
    media_id: str
    download_url: str
    expires_at: str
    bytes: int
    sha256: str
    delivered: Delivered
    spoken: HeardSpeech
    understood: Understanding | None


class _Made(msgspec.Struct):
    id: str


class _Bound(msgspec.Struct):
    device_token: str


class _Webhook(msgspec.Struct):
    id: str
    secret: str


class _Upload(msgspec.Struct):
    media_id: str
    upload_url: str
    headers: dict[str, str]


class _Recording(msgspec.Struct):
    status: str
    content_sha256: str | None


class _Download(msgspec.Struct):
    download_url: str
    content_type: str
    file_size_bytes: int
    expires_at: str


class _Segment(msgspec.Struct):
    speaker: str | None = None


class _Transcription(msgspec.Struct):
    id: str
    status: str
    progress: float
    language: str | None
    model: str | None
    full_text: str | None
    error_message: str | None
    segments: list[_Segment] | None = None


class MainJob:
    """The steps, in order; `report` is called with each step when the step has ended.

    base_url: URL of the API, without a trailing slash. key: a secret key. receiver: gets the events. clock:
    returns seconds. hear: is called with the progress of the transcription, 0 to 1.
    The shell commands of a step need variables that the commands of earlier steps export.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        sample: Sample,
        receiver: Receiver,
        report: Callable[[DemoStep], None],
        hear: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._hear = hear
        self._calls = DemoCalls(base_url, {"LAPEL_KEY": key}, report, clock)
        self._sample = sample
        self._receiver = receiver

    def run(self, serial_number: str) -> DemoOutcome:
        """Runs the whole job with a device that has this `serial_number`.

        Raises DemoError when a call gets no answer or an unexpected one, or when the downloaded bytes differ
        from the uploaded ones.
        """
        end_user, device = self._people_and_things(serial_number)
        webhook = self._register_webhook()
        recording = self._calls.post(
            "create a recording", "/v1/recordings", {"name": "Chapter 1"}, _Made, token=BY_DEVICE
        )
        media_id = self._upload(recording.id)
        delivered = self._await_delivery(webhook, recording.id)
        link = self._calls.post(
            "ask for a download URL",
            f"/v1/recordings/{recording.id}/download-url",
            {"media_id": media_id},
            _Download,
            exports=_exports,
        )
        self._read_back(link)
        spoken = self._transcribe(recording.id)
        understood = None
        if spoken.failure is None:
            understood = understand(self._calls, end_user, recording.id, spoken.transcription_id)
        return DemoOutcome(
            end_user_id=end_user,
            device_id=device,
            recording_id=recording.id,
            media_id=media_id,
            download_url=link.download_url,
            expires_at=link.expires_at,
            bytes=link.file_size_bytes,
            sha256=self._sample.sha256,
            delivered=delivered,
            spoken=spoken,
            understood=understood,
        )

    def _people_and_things(self, serial_number: str) -> tuple[str, str]:
        end_user = self._calls.post("make an end user", "/v1/end-users", {"name": "Jane"}, _Made)
        facts = {"serial_number": serial_number, "model": "bota_pin"}
        device = self._calls.post("register a device", "/v1/devices", facts, _Made)
        path = f"/v1/devices/{device.id}/bind"
        facts = {"end_user_id": end_user.id}
        bound = self._calls.post("bind it to the end user", path, facts, _Bound, exports=_exports)
        self._calls.tokens[BY_DEVICE] = bound.device_token
        return end_user.id, device.id

    def _register_webhook(self) -> str:
        facts = {"url": self._receiver.url, "events": [UPLOADED]}
        webhook = self._calls.post("register a webhook", "/v1/webhooks", facts, _Webhook)
        self._receiver.secret = webhook.secret
        return webhook.id

    def _await_delivery(self, webhook_id: str, recording_id: str) -> Delivered:
        def wait() -> Delivered:
            event = self._receiver.wait(UPLOADED, recording_id, ANSWER_TIMEOUT)
            if event is None:
                raise DemoError(f"no event {UPLOADED} within {ANSWER_TIMEOUT} s")
            if not event.genuine:
                raise DemoError(f"the signature of {event.id} does not fit the webhook's secret")
            return Delivered(
                webhook_id=webhook_id,
                event_id=event.id,
                event_type=event.type,
                signature=event.signature,
            )

        curl = get_curl(f"/v1/webhooks/{webhook_id}/deliveries")
        return self._calls.timed("receive the event at the webhook, and verify it", curl, wait)

    def _upload(self, recording_id: str) -> str:
        sample = self._sample
        facts = {
            "content_type": sample.content_type,
            "file_size_bytes": sample.size,
            "sha256": sample.sha256,
        }
        path = f"/v1/recordings/{recording_id}"
        upload = self._calls.post(
            "ask for an upload URL",
            f"{path}/upload-url",
            facts,
            _Upload,
            token=BY_DEVICE,
            exports=_exports,
        )
        self._calls.timed(
            f"PUT the sample, {sample.size:,} bytes of speech",
            _curl("$LAPEL_UPLOAD_URL", upload.headers, "-T", str(sample.path)),
            lambda: self._calls.send("PUT", upload.upload_url, upload.headers, sample.data, {200}),
        )
        recording = self._calls.post(
            "complete the upload",
            f"{path}/upload-complete",
            {"content_sha256": sample.sha256},
            _Recording,
            token=BY_DEVICE,
        )
        if recording.status != "uploaded" or recording.content_sha256 != sample.sha256:
            raise DemoError(f"complete the upload: the recording reads {recording}")
        return upload.media_id

    def _read_back(self, link: _Download) -> None:
        sample = self._sample
        url, part_only = link.download_url, {"Range": FIRST_KIBIBYTE}
        whole = self._calls.timed(
            "GET it",
            _curl("$LAPEL_LINK", {}, "-o", "lapel-demo.opus"),
            lambda: self._calls.send("GET", url, {}, None, {200}),
        )
        part = self._calls.timed(
            "GET its first 1,024 bytes",
            _curl("$LAPEL_LINK", part_only, "-o", "lapel-demo.part"),
            lambda: self._calls.send("GET", url, part_only, None, {206}),
        )
        digest = self._calls.timed(
            "compare SHA-256",
            f"echo '{sample.sha256}  lapel-demo.opus' | sha256sum -c -",
            lambda: hashlib.sha256(whole.body).hexdigest(),
        )
        if digest != sample.sha256 or part.body != sample.data[:1024]:
            raise DemoError("compare SHA-256: the downloaded bytes differ from the uploaded ones")
        if (whole.content_type, link.content_type) != (sample.content_type, sample.content_type):
            raise DemoError(f"GET it: the type is {whole.content_type}, not {sample.content_type}")

    def _transcribe(self, recording_id: str) -> HeardSpeech:
        sample = self._sample
        asked = self._calls.post(
            "ask for a transcript", "/v1/transcriptions", {"recording_id": recording_id}, _Transcription
        )
        began = self._calls.clock()
        done = self._calls.get(
            f"read what was said in {sample.duration_ms / 1000:.0f} s of speech",
            f"/v1/transcriptions/{asked.id}",
            _Transcription,
            until=self._has_ended,
            seconds=TRANSCRIPT_TIMEOUT,
        )
        seconds = self._calls.clock() - began
        text = done.full_text or ""
        return HeardSpeech(
            transcription_id=done.id,
            text=text,
            language=done.language,
            model=done.model,
            speakers=sorted({each.speaker for each in done.segments or () if each.speaker}),
            word_error=round(word_error(sample.text, text), 4) if done.status == "completed" else None,
            real_time_factor=round(seconds / (sample.duration_ms / 1000), 3),
            failure=done.error_message,
        )

    def _has_ended(self, now: _Transcription) -> bool:
        if now.status in {"completed", "failed"}:
            return True
        self._hear(now.progress)
        return False


def _exports(result: object) -> list[str]:
    """Shell commands that export values of this answer, because later commands need them."""
    match result:
        case _Bound(device_token=token):
            return [f"export LAPEL_DEVICE_TOKEN={token}"]
        case _Upload(upload_url=url):
            return [f"export LAPEL_UPLOAD_URL={shlex.quote(url)}"]
        case _Download(download_url=url):
            return [f"export LAPEL_LINK={shlex.quote(url)}"]
        case _:
            return []


def _curl(variable: str, headers: Mapping[str, str], *options: str) -> str:
    named = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    return f'{shlex.join(["curl", "-fsS", *options, *named])} "{variable}"'
