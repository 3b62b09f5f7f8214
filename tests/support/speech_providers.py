"""Fakes of remote providers of transcripts, which take and answer what their documentation says.

Each is strict about what it is sent: it decodes the audio with PyAV, and keeps a complaint about anything
that the real service would not take.
"""

from __future__ import annotations

import io
import itertools
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import av
from aiohttp import BodyPartReader, web
from av.error import FFmpegError

from lapel.foundation.clock import SystemClock
from lapel.transcription.engine.messages import Heard
from lapel.transcription.providers.http import Patience
from lapel.transcription.providers.protocol import Clip, Transcriber, Wish
from lapel.transcription.providers.slots import Engine, SlotChoice, transcriber
from tests.support.speech_answers import ASSEMBLYAI, DEEPGRAM, ELEVENLABS, OPENAI
from tests.support.speech_faults import CHUNK, Fault

KEY = "fake-key-0123456789abcdef-WXYZ"
# Nothing here is waited for longer than it takes; what must run out runs out soon.
QUICK = Patience(connect=5, stall=10, answer=10, total=20, first_poll=0.01, longest_poll=0.02)
ENGINES: tuple[Engine, ...] = ("deepgram", "assemblyai", "elevenlabs", "openai")


@dataclass
class Fake:
    """A running fake. `faults` are used up one call after the other; then it answers well again."""

    engine: Engine
    key: str | None = KEY
    url: str = ""
    answer: Any = None
    faults: deque[tuple[str, Fault]] = field(default_factory=deque)
    complaints: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    received: int = 0
    polls: int = 2  # how often AssemblyAI is not ready yet
    decode: bool = True

    def fail(self, fault: Fault, times: int = 1, *, at: str = "/") -> None:
        """Answer the next calls of paths that begin with `at` badly."""
        self.faults.extend(itertools.repeat((at, fault), times))

    def check(self, holds: bool, complaint: str) -> None:
        """Keep a complaint unless it holds."""
        if not holds:
            self.complaints.append(complaint)

    def heard_audio(self, content: bytes) -> None:
        """It must be audio, whole."""
        self.received = len(content)
        if not self.decode:
            return
        try:
            with av.open(io.BytesIO(content), mode="r") as container:
                samples = [(frame.samples, frame.sample_rate) for frame in container.decode(audio=0)]
        except FFmpegError as fault:
            self.complaints.append(f"no audio: {fault}")
        else:
            self.seconds = sum(count / rate for count, rate in samples)

    def choice(self, model: str | None = None) -> SlotChoice:
        """Somebody's setting that leads here."""
        base_url = f"{self.url}/v1" if self.engine == "openai" else self.url
        slot = "whisper" if self.engine in ("openai", "local") else self.engine
        return SlotChoice(slot=slot, engine=self.engine, model=model, base_url=base_url, key=self.key)

    async def hear(
        self, clip: Clip, wish: Wish | None = None, *, patience: Patience = QUICK, model: str | None = None
    ) -> Heard:
        """What our side makes of the clip. Progress must go from 0 to 1."""
        told: list[float] = []
        engine = transcriber(self.choice(model), local=_nobody, clock=SystemClock(), patience=patience)
        found = await engine.transcribe(clip, wish or Wish(), told.append)
        assert told == sorted(told)
        assert told[-1] == 1
        return found

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        self.calls.append(f"{request.method} {request.path}")
        name, prefix = _AUTHORIZATION[self.engine]
        given = request.headers.get(name)
        wanted = None if self.key is None else prefix + self.key
        self.check(given == wanted, f"{name} is not as documented")
        fault = None
        if self.faults and request.path.startswith(self.faults[0][0]):
            fault = self.faults.popleft()[1]
        if fault is not None and fault.before_body:
            return await fault.answer(request)
        answer = await _HANDLERS[self.engine](self, request)
        return answer if fault is None else await fault.answer(request)


def _nobody(_: str | None) -> Transcriber:
    raise AssertionError("the local engine was not chosen")


_AUTHORIZATION = {
    "deepgram": ("Authorization", "Token "),
    "assemblyai": ("Authorization", ""),
    "elevenlabs": ("xi-api-key", ""),
    "openai": ("Authorization", "Bearer "),
}


def wrong(fake: Fake, request: web.Request) -> web.Response:
    """What no such service has."""
    fake.complaints.append(f"there is no {request.method} {request.path}")
    return web.json_response({"message": "Not Found"}, status=404)


async def body(fake: Fake, request: web.Request, content_type: str) -> None:
    """The whole body is the audio, of known length."""
    fake.check(request.headers.get("Content-Type") == content_type, "the Content-Type is not as documented")
    fake.check("Content-Length" in request.headers, "the length is not told")
    content = bytearray()
    count = 0
    async for chunk in request.content.iter_chunked(CHUNK):
        count += len(chunk)
        if fake.decode:
            content += chunk
    if fake.decode:
        fake.heard_audio(bytes(content))
    fake.received = count
    fake.check(count == int(request.headers["Content-Length"]), "the length is another one")


async def form(fake: Fake, request: web.Request, taken: set[str]) -> None:
    """A form whose `file` is the audio."""
    fake.check("Content-Length" in request.headers, "the length is not told")
    fake.fields = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        name = part.name or ""
        if name == "file":
            fake.check(bool(part.filename), "the file has no name")
            fake.check(part.headers["Content-Type"].startswith("audio/"), "the file is of no audio type")
            fake.fields["file"] = [str(part.filename), part.headers["Content-Type"]]
            fake.heard_audio(bytes(await part.read()))
        else:
            fake.check(name in taken, f"there is no field {name}")
            fake.fields.setdefault(name, []).append((await part.read()).decode())
    fake.check("file" in fake.fields, "there is no file")


async def deepgram(fake: Fake, request: web.Request) -> web.Response:
    """POST /v1/listen."""
    if (request.method, request.path) != ("POST", "/v1/listen"):
        return wrong(fake, request)
    fake.fields = {name: request.query.getall(name) for name in request.query}
    taken = {
        "model", "language", "detect_language", "diarize", "utterances", "smart_format", "punctuate",
    }  # fmt: skip
    for name in fake.fields.keys() - taken:
        fake.complaints.append(f"there is no parameter {name}")
    fake.check(
        ("language" in fake.fields) != ("detect_language" in fake.fields), "a language and detecting it"
    )
    await body(fake, request, "audio/ogg")
    answer = fake.answer or DEEPGRAM
    if "language" in request.query and fake.answer is None:  # then it does not tell of any
        channel = {"alternatives": DEEPGRAM["results"]["channels"][0]["alternatives"]}
        answer = DEEPGRAM | {"results": DEEPGRAM["results"] | {"channels": [channel]}}
    return web.json_response(answer)


async def assemblyai(fake: Fake, request: web.Request) -> web.Response:
    """/v2/upload, /v2/transcript, /v2/transcript/{id}."""
    match (request.method, request.path):
        case ("POST", "/v2/upload"):
            await body(fake, request, "audio/ogg")
            return web.json_response({"upload_url": f"{fake.url}/upload/f1"})
        case ("POST", "/v2/transcript"):
            order = await request.json()
            fake.fields = {name: [json.dumps(value)] for name, value in order.items()}
            fake.check(order.get("audio_url") == f"{fake.url}/upload/f1", "audio_url is another one")
            taken = {
                "audio_url", "punctuate", "format_text", "speaker_labels", "speakers_expected",
                "language_detection", "language_code", "speech_models",
            }  # fmt: skip
            for name in order.keys() - taken:
                fake.complaints.append(f"there is no field {name}")
            fake.check(
                ("language_code" in order) != ("language_detection" in order), "a language and detecting it"
            )
            return web.json_response({"id": "t-1", "status": "queued", "text": None, "words": None})
        case ("GET", "/v2/transcript/t-1"):
            fake.polls -= 1
            if fake.polls >= 0:
                return web.json_response({"id": "t-1", "status": "processing", "utterances": None})
            return web.json_response(fake.answer or ASSEMBLYAI)
        case _:
            return wrong(fake, request)


async def elevenlabs(fake: Fake, request: web.Request) -> web.Response:
    """POST /v1/speech-to-text."""
    if (request.method, request.path) != ("POST", "/v1/speech-to-text"):
        return wrong(fake, request)
    taken = {
        "model_id", "language_code", "num_speakers", "diarize", "timestamps_granularity", "tag_audio_events",
    }  # fmt: skip
    await form(fake, request, taken)
    fake.check(fake.fields["model_id"][0].startswith("scribe"), "there is no such model")
    return web.json_response(fake.answer or ELEVENLABS)


async def openai(fake: Fake, request: web.Request) -> web.Response:
    """POST {base}/audio/transcriptions."""
    if (request.method, request.path) != ("POST", "/v1/audio/transcriptions"):
        return wrong(fake, request)
    taken = {"model", "language", "response_format", "timestamp_granularities[]", "temperature", "prompt"}
    await form(fake, request, taken)
    fake.check(fake.received <= 25 * 1024 * 1024, "the file is too large")
    ending = fake.fields["file"][0].rpartition(".")[2]
    fake.check(ending in ("flac", "ogg", "mp3", "wav", "m4a", "webm"), "the file's name has no known ending")
    return web.json_response(fake.answer or OPENAI)


_HANDLERS = {"deepgram": deepgram, "assemblyai": assemblyai, "elevenlabs": elevenlabs, "openai": openai}


@asynccontextmanager
async def serving_fake(fake: Fake) -> AsyncGenerator[Fake]:
    """The fake on a port of its own. Calls that still hang at the end are cut off."""
    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
