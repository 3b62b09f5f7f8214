"""A running language service: it answers as its maker specifies, or misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from lapel.slices.providers.choice import LanguageSlot, SlotChoice
from tests.support.language_services import anthropic, gemini, openai
from tests.support.language_services.asked import Answer, Asked, Refuse
from tests.support.speech_faults import Fault
from tests.support.speech_services.service import listening

Dialect = Literal["openai", "anthropic", "gemini"]
# hang: no more events after some. silent: no answer at all. garbage: no JSON. cut: the connection ends.
# short: the stream ends early, as if it were complete. error: an error event. repeat: the text again and
# again. endless: comments for ever. unstreamed: one JSON answer. line: a line without an end.
Misbehaviour = Literal[
    "hang", "silent", "garbage", "cut", "short", "error", "repeat", "endless", "unstreamed", "line"
]
KEY = "fake-key-0123456789abcdef-WXYZ"
_DIALECTS: dict[Dialect, Any] = {"openai": openai, "anthropic": anthropic, "gemini": gemini}
_SLOTS: dict[Dialect, LanguageSlot] = {"openai": "openai", "anthropic": "claude", "gemini": "gemini"}


def _yes(_: Asked) -> str:
    return "Yes."


@dataclass
class LanguageService:
    """A language service. `answer`: its answer to a request. `asked`: the requests that it accepted.

    `refused`: its refusals, in its own words. `own`: whether it is the maker's, or a server that copies the
    API. `size`: characters of one event. Each spoiled call uses up one of `faults` or `misbehaviours`.
    """

    dialect: Dialect
    answer: Callable[[Asked], str | Answer] = _yes
    own: bool = True
    key: str | None = KEY
    size: int = 7
    url: str = ""
    calls: int = 0
    # Set when a caller has left during an answer.
    left: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[Asked] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    misbehaviours: deque[Misbehaviour] = field(default_factory=deque)

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Answer the next calls with the fault (`tests/support/speech_faults.py`)."""
        self.faults.extend([fault] * times)

    def misbehave(self, how: Misbehaviour, times: int = 1) -> None:
        """Spoil the next answers."""
        self.misbehaviours.extend(how for _ in range(times))

    @property
    def base_url(self) -> str:
        """What an operator sets as the base URL."""
        return f"{self.url}/v1" if self.dialect == "openai" else self.url

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        self.calls += 1
        dialect = _DIALECTS[self.dialect]
        body = await request.json()
        if self.faults:
            return await self.faults.popleft().answer(request)
        try:
            if request.method != "POST" or not dialect.PATH.fullmatch(request.path):
                raise Refuse(404, {"error": {"message": f"Not found: {request.path}"}})  # noqa: TRY301
            ask = dialect.asked(request.headers, body, self.key, request.path, own=self.own)
        except Refuse as refused:
            self.refused.append(str(refused))
            return web.json_response(refused.body, status=refused.status)
        self.asked.append(ask)
        told = self.answer(ask)
        answer = Answer(told) if isinstance(told, str) else told
        how = self.misbehaviours.popleft() if self.misbehaviours else None
        if how == "unstreamed":
            return web.json_response(dialect.whole(ask, answer))
        if how == "silent":
            await asyncio.Event().wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            await self._stream(request, response, dialect.events(ask, answer, self.size), how)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        events: Iterator[tuple[str | None, Any]],
        how: Misbehaviour | None,
    ) -> None:
        every = list(events)
        # Of each dialect, so many events bring at least one piece of text, and not yet the end.
        begun = every if how is None else every[: max(len(every) // 2, 1)]
        for name, data in begun:
            await response.write(_event(name, data))
        match how:
            case "hang":
                await asyncio.Event().wait()
            case "cut" if request.transport is not None:
                request.transport.abort()
            case "repeat" | "endless" | "line":
                again = {
                    "repeat": b"".join(_event(name, data) for name, data in every if _says(data)),
                    "endless": b": still here\n\n" * 1000,
                    "line": b"data: " + b"x" * 100_000,
                }
                while True:
                    await response.write(again[how])
            case _:
                ends = {
                    "garbage": b'data: {"broken\n\ndata: \xff\xfe\n\n',
                    "error": _event(*_DIALECTS[self.dialect].error("Overloaded")),
                }
                await response.write(ends.get(how or "", b": the end\n"))


def _says(data: Any) -> bool:
    text = json.dumps(data)
    return '"text_delta"' in text or '"delta": {"content"' in text or '"parts": [{"text"' in text


def _event(name: str | None, data: Any) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"event: {name}\n".encode() * (name is not None) + f"data: {text}\n\n".encode()


def slot_choice(
    service: LanguageService, *, model: str | None = None, context_tokens: int | None = None
) -> SlotChoice:
    """A slot's setting that points to the service."""
    return SlotChoice(
        slot=_SLOTS[service.dialect],
        engine=service.dialect,
        model=model,
        base_url=service.base_url,
        key=service.key,
        context_tokens=context_tokens,
    )


@asynccontextmanager
async def serving(service: LanguageService) -> AsyncGenerator[LanguageService]:
    """Runs the service on a port of its own during the block."""
    async with listening(service.handle) as service.url:
        yield service
