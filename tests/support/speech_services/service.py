"""What all services share: faults to order, complaints to read, audio that is decoded, forms to read."""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import av
from aiohttp import BodyPartReader, web
from av.error import FFmpegError

from tests.support.speech_faults import CHUNK, Fault


class Refuse(Exception):
    """The service answers this instead. `complaint`: what was wrong, in our words."""

    def __init__(self, status: int, body: Any, complaint: str) -> None:
        super().__init__(complaint)
        self.status = status
        self.body = body
        self.complaint = complaint


@dataclass(kw_only=True)
class Service:
    """A running service. `faults` are used up one call after the other; then it answers well again.

    `fields`: what the last request named, each with its values. `answer`: instead of its usual transcript.
    `kept`: ids of the transcripts that it keeps; `deleted`: of those that were deleted.
    """

    key: str | None
    url: str = ""
    answer: Any = None
    faults: deque[tuple[str, Fault]] = field(default_factory=deque)
    complaints: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    received: int = 0
    polls: int = 2  # how often a transcript that is asked for is not ready yet
    decode: bool = True
    made: int = 0
    kept: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    # The model that answers, instead of the one that was asked for.
    answering: str | None = None
    # Codes of languages that a model of this service does not know.
    unknown_languages: frozenset[str] = frozenset()
    # Whether it names its own models only, or, as services that follow an API do, any.
    any_model: bool = False
    shutdown_date: Any = None

    def fail(self, fault: Fault, times: int = 1, *, at: str = "/") -> None:
        """Answer the next calls of paths that begin with `at` badly."""
        self.faults.extend(itertools.repeat((at, fault), times))

    def check(self, holds: bool, complaint: str) -> None:
        """Keep a complaint unless it holds."""
        if not holds:
            self.complaints.append(complaint)

    def next_id(self, prefix: str) -> str:
        """The id of a transcript that is kept from now on."""
        self.made += 1
        self.kept.append(f"{prefix}-{self.made}")
        return self.kept[-1]

    def delete(self, copy: str) -> bool:
        """Whether it was there."""
        if copy not in self.kept:
            return False
        self.kept.remove(copy)
        self.deleted.append(copy)
        return True

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

    async def respond(
        self, request: web.Request, handler: Callable[[Any, web.Request], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        """One call."""
        self.calls.append(f"{request.method} {request.path}")
        fault = None
        if self.faults and request.path.startswith(self.faults[0][0]):
            fault = self.faults.popleft()[1]
        if fault is not None and fault.before_body:
            return await fault.answer(request)
        try:
            answer = await handler(self, request)
        except Refuse as refused:
            self.complaints.append(refused.complaint)
            return web.json_response(refused.body, status=refused.status)
        return answer if fault is None else await fault.answer(request)


async def body(service: Service, request: web.Request) -> None:
    """The whole body is the audio, of known length."""
    service.check("Content-Length" in request.headers, "the length is not told")
    content = bytearray()
    count = 0
    async for chunk in request.content.iter_chunked(CHUNK):
        count += len(chunk)
        if service.decode:
            content += chunk
    if service.decode:
        service.heard_audio(bytes(content))
    service.received = count
    service.check(count == int(request.headers["Content-Length"]), "the length is another one")


async def form(service: Service, request: web.Request) -> None:
    """A form whose `file` is the audio; the rest of it is in `service.fields`."""
    service.check("Content-Length" in request.headers, "the length is not told")
    service.fields = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        if part.name == "file":
            service.check(bool(part.filename), "the file has no name")
            service.check(part.headers["Content-Type"].startswith("audio/"), "the file is of no audio type")
            service.fields["file"] = [str(part.filename), part.headers["Content-Type"]]
            service.heard_audio(bytes(await part.read()))
        else:
            service.fields.setdefault(part.name or "", []).append((await part.read()).decode())


@asynccontextmanager
async def listening(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncGenerator[str]:
    """A port of this machine, as a URL. Calls that still hang at the end are cut off."""
    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
