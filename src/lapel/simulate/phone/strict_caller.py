"""The HTTP calls of the app: three attempts for what may be repeated, one for what may not, no redirects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Final

import aiohttp
import msgspec

from lapel.simulate.client.caller import Answer, CallFailed, SimulationError
from lapel.simulate.client.lost_answers import lose
from lapel.simulate.client.meter import Meter
from lapel.simulate.phone.strict_answers import MOST_BYTES, error_code, is_safe_url

ATTEMPTS: Final = 3
_PAUSE = 0.25  # seconds
_TIMEOUT = aiohttp.ClientTimeout(total=45, sock_connect=20, sock_read=30)

_encode = msgspec.json.Encoder().encode


class StrictCaller:
    """Calls one server as the app does. With probability `drop` an attempt loses its answer on purpose."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, meter: Meter, dice: Random, drop: float
    ) -> None:
        """Raises SimulationError when the app would not call such a server."""
        if not is_safe_url(base_url):
            raise SimulationError(
                "devices that encrypt call a server only over https, or on this machine: "
                f"{base_url} is neither"
            )
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._meter = meter
        self._dice = dice
        self._drop = drop

    async def once(
        self,
        name: str,
        path: str,
        token: Callable[[], str],
        body: Mapping[str, object],
        expected: Collection[int],
    ) -> Answer:
        """A POST below /v1 that is never repeated.

        Raises CallFailed when no expected answer comes; its `status` is None when the outcome is unknown.
        """
        return await self._api(name, "POST", path, token, body, expected, 1)

    async def safe(
        self,
        name: str,
        method: str,
        path: str,
        token: Callable[[], str],
        body: Mapping[str, object] | None,
        expected: Collection[int],
    ) -> Answer:
        """A call below /v1 that may be repeated: after no answer, 429 and 5xx, at most ATTEMPTS times.

        Raises CallFailed when no expected answer comes.
        """
        return await self._api(name, method, path, token, body, expected, ATTEMPTS)

    async def put(self, url: str, headers: Mapping[str, str], content: bytes) -> None:
        """PUT of a whole sealed recording to a link. Raises CallFailed when it is not answered with 2xx."""
        fields = {**headers, "Content-Length": str(len(content))}
        await self._repeat("sealed PUT", "PUT", url, lambda: fields, content, range(200, 300), ATTEMPTS)

    async def _api(
        self,
        name: str,
        method: str,
        path: str,
        token: Callable[[], str],
        body: Mapping[str, object] | None,
        expected: Collection[int],
        attempts: int,
    ) -> Answer:
        def headers() -> dict[str, str]:
            return {
                "Authorization": f"Bearer {token()}",
                "Accept": "application/json",
                "Content-Type": "application/json",
            }

        content = b"" if body is None else _encode(body)
        url = f"{self._base_url}/v1{path}"
        return await self._repeat(name, method, url, headers, content, expected, attempts)

    async def _repeat(
        self,
        name: str,
        method: str,
        url: str,
        headers: Callable[[], dict[str, str]],
        content: bytes,
        expected: Collection[int],
        attempts: int,
    ) -> Answer:
        """The expected answer, at one of the attempts; only no answer, 429 and 5xx lead to the next one."""
        while True:
            attempts -= 1
            try:
                answer = await self._attempt(name, method, url, headers(), content)
            except CallFailed:
                if not attempts:
                    raise
            else:
                if answer.status in expected:
                    return answer
                is_final = answer.status != 429 and answer.status < 500
                if is_final or not attempts:
                    raise self._failed(name, answer)
                self._meter.repeats[str(answer.status)] += 1
            await asyncio.sleep(_PAUSE)

    async def _attempt(
        self, name: str, method: str, url: str, headers: dict[str, str], content: bytes
    ) -> Answer:
        """One attempt. Raises CallFailed without an answer, and SimulationError for one that is too long."""
        if self._drop and self._dice.random() < self._drop:
            sent = {name: value for name, value in headers.items() if name != "Content-Length"}
            await lose(method, url, sent, content, self._dice)
            self._meter.repeats["answer dropped"] += 1
            raise CallFailed(name, None, "the answer was dropped on purpose")
        started = time.perf_counter()
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=content or None,
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as response:
                answer = Answer(response.status, await _limited(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            self._meter.errors[f"no answer: {type(fault).__name__}"] += 1
            raise CallFailed(name, None, f"no answer: {type(fault).__name__}") from fault
        self._meter.took(name, time.perf_counter() - started)
        return answer

    def _failed(self, name: str, answer: Answer) -> CallFailed:
        code = error_code(answer.content) or "without an error code"
        if answer.status != 429:
            self._meter.errors[f"{name}: {answer.status} {code}"] += 1
        return CallFailed(name, answer.status, f"{answer.status} {code}")


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MOST_BYTES:
            raise SimulationError(f"an answer has more than {MOST_BYTES:,} bytes")
    return bytes(content)
