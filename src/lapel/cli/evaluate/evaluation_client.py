"""The calls that an evaluation makes: those of any client of the API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import aiohttp
import msgspec

from lapel.cli.shared.faults import CommandError

T = TypeVar("T")
K = TypeVar("K")

# Seconds for one call: a small model of this machine may need minutes for a long answer.
_TIMEOUT = aiohttp.ClientTimeout(total=3600, sock_connect=30)
# Answers after which a call is made again, and how often. 502 is temporary if it says when to come again.
_TEMPORARY = frozenset({425, 429, 503})
_TRIES = 4
_LONGEST_PAUSE = 60.0


class CallRefused(Exception):
    """The API refused a call for good. `code`: its error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class _CallError(msgspec.Struct):
    code: str
    message: str


class _CallRefusal(msgspec.Struct):
    error: _CallError


class EvaluationClient:
    """Calls one server with a key. `concurrency`: the most calls of `each` at once."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str, concurrency: int = 1) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._concurrency = concurrency

    async def call(
        self, method: str, path: str, shape: type[T], body: Mapping[str, object] | None = None
    ) -> T:
        """One call; its answer as a `shape`. A temporary refusal is waited for, a few times.

        Raises CallRefused, and CommandError when the server does not answer as the contract says.
        """
        content = None if body is None else msgspec.json.encode(body)
        tries = 0
        while True:
            tries += 1
            status, answer, after = await self._send(method, self._base_url + path, self._headers, content)
            if status in (200, 201):
                return _decoded(answer, shape, path)
            is_temporary = status in _TEMPORARY or (status == 502 and after is not None)
            if not is_temporary or tries == _TRIES:
                break
            await asyncio.sleep(min(after if after is not None else 2.0**tries, _LONGEST_PAUSE))
        error = _decoded(answer, _CallRefusal, path).error
        raise CallRefused(error.code, error.message)

    async def timed(
        self, method: str, path: str, shape: type[T], body: Mapping[str, object]
    ) -> tuple[T, float]:
        """One call, and its seconds, with its repeats. Raises what `call` raises."""
        began = time.perf_counter()
        return await self.call(method, path, shape, body), time.perf_counter() - began

    async def put(self, url: str, headers: Mapping[str, str], content: bytes) -> None:
        """Upload an object to a signed URL. Raises CommandError when the store refuses it."""
        status, _, _ = await self._send("PUT", url, headers, content)
        if status != 200:
            raise CommandError(f"the store answered an upload with {status}.")

    async def each(
        self, things: Sequence[K], work: Callable[[K], Awaitable[T]], done: Callable[[], None]
    ) -> list[T]:
        """`work` for each of the things, some at once; the results in the same order.

        `done` is called after each of them. The first error ends the others.
        """
        places = asyncio.Semaphore(self._concurrency)

        async def one(thing: K) -> T:
            async with places:
                result = await work(thing)
            done()
            return result

        tasks = [asyncio.ensure_future(one(thing)) for thing in things]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> tuple[int, bytes, float | None]:
        try:
            async with self._session.request(
                method, url, headers=headers, data=content, timeout=_TIMEOUT
            ) as answer:
                return answer.status, await answer.read(), _seconds(answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError) as fault:  # TimeoutError is an OSError
            raise CommandError(f"the server does not answer: {type(fault).__name__}.") from fault


def _decoded(content: bytes, shape: type[T], path: str) -> T:
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.DecodeError as fault:
        raise CommandError(f"{path} was answered with unexpected fields: {fault}.") from fault


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
