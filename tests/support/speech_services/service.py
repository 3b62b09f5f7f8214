"""Shared parts of the services: ordered faults, complaints, decoding of audio, reading of forms."""

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
    """The service answers with this refusal. `complaint`: what was wrong, in our words."""

    def __init__(self, status: int, body: Any, complaint: str) -> None:
        super().__init__(complaint)
        self.status = status
        self.body = body
        self.complaint = complaint


@dataclass(kw_only=True)
class Service:
    """A running service. Each call uses up one of `faults`; after the last one it answers normally.

    `fields`: fields of the last request, each with its values. `answer`: replaces the usual transcript.
    `kept`: ids of the transcripts that it keeps. `deleted`: ids of the deleted ones.
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
    polls: int = 2  # so many polls find the transcript not ready yet
    decode: bool = True
    made: int = 0
    kept: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    # The model named in the answer, in place of the one that was asked for.
    answering: str | None = None
    # Language codes that a model of this service does not know.
    unknown_languages: frozenset[str] = frozenset()
    # Whether it accepts any model's name, as services that copy an API do, or only its own models.
    any_model: bool = False
    shutdown_date: Any = None

    def fail(self, fault: Fault, times: int = 1, *, at: str = "/") -> None:
        """Answer the next `times` calls of paths that begin with `at` with the fault."""
        self.faults.extend(itertools.repeat((at, fault), times))

    def check(self, holds: bool, complaint: str) -> None:
        """Note the complaint unless `holds` is true."""
        if not holds:
            self.complaints.append(complaint)

    def next_id(self, prefix: str) -> str:
        """The id of a new transcript, which is kept from now on."""
        self.made += 1
        self.kept.append(f"{prefix}-{self.made}")
        return self.kept[-1]

    def delete(self, copy: str) -> bool:
        """Deletes a kept transcript; whether it was there."""
        if copy not in self.kept:
            return False
        self.kept.remove(copy)
        self.deleted.append(copy)
        return True

    def heard_audio(self, content: bytes) -> None:
        """Checks that the content is complete audio."""
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
        """Answers one call."""
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
    """Listens on a port of this machine; yields its URL. Calls that still hang at the end are cut off."""
    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
