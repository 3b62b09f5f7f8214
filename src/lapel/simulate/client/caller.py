"""HTTP calls as a careful device makes them: a call without a final answer is repeated with the same bytes.

A call is repeated if it gets no answer, or 425, 429, 503 or 409 `idempotency_key_in_use`. After such an
answer, the pause is its Retry-After, else 1 s. Without an answer, the pause doubles from _FIRST_PAUSE to
_LONGEST_PAUSE.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from random import Random
from typing import Final, NamedTuple, TypeVar

import aiohttp
import msgspec

from lapel.simulate.client.lost_answers import lose
from lapel.simulate.client.meter import Meter

# Seconds for which one call is repeated before it fails. Pauses that the server requests with 429 do not
# count.
PATIENCE: Final = 60.0
OK: Final = frozenset({200})
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_IN_USE = b'"idempotency_key_in_use"'
T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


class SimulationError(Exception):
    """The simulation cannot continue; the message says why."""


class CallFailed(Exception):
    """A call got no expected answer. The meter has counted it; `status` is None without a final answer."""

    def __init__(self, name: str, status: int | None, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.status = status


class Answer(NamedTuple):
    """A final answer."""

    status: int
    content: bytes

    def read(self, kind: type[T]) -> T:
        """The body as a struct. Raises SimulationError when the body does not have the contract's shape."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except msgspec.DecodeError as fault:
            shown = self.content[:200].decode(errors="replace")
            raise SimulationError(f"an answer is not as the contract says ({fault}): {shown}") from fault


class Caller:
    """Calls one server. With probability `drop` a call loses its answer on purpose, and is then repeated."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, meter: Meter, dice: Random, drop: float
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._meter = meter
        self._dice = dice
        self._drop = drop

    async def api(
        self,
        name: str,
        method: str,
        path: str,
        token: str | None,
        body: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
        expected: Collection[int] = OK,
    ) -> Answer:
        """One call below /v1. `name`: the name of the call in the meter. `key`: the Idempotency-Key.

        Raises CallFailed when the final status is not in `expected`, or when no answer comes in time.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = _encode(body)
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._repeat(name, method, f"{self._base_url}/v1{path}", headers, content, expected)

    async def form(self, name: str, path: str, token: str, fields: Mapping[str, str], file: bytes) -> Answer:
        """One multipart upload (RFC 7578) of a file `bin`. The answer is 201, or 409 if the release exists.

        Raises CallFailed for any other answer, and when no answer comes in time.
        """
        boundary = f"lapel-{self._dice.getrandbits(128):032x}"
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        parts.append(
            b'Content-Disposition: form-data; name="bin"; filename="firmware.bin"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + file + b"\r\n"
        )
        border = f"--{boundary}".encode()
        content = b"".join(border + b"\r\n" + part for part in parts) + border + b"--\r\n"
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        }
        return await self._repeat(name, "POST", f"{self._base_url}/v1{path}", headers, content, (201, 409))

    async def put(
        self, url: str, headers: Mapping[str, str], content: bytes, expected: Collection[int]
    ) -> Answer:
        """PUT to a signed link. Raises CallFailed when no answer with an `expected` status comes in time."""
        return await self._repeat("PUT", "PUT", url, dict(headers), content, expected)

    async def get(self, name: str, url: str) -> bytes:
        """The bytes behind a signed link. Raises CallFailed when no answer with status 200 comes in time."""
        return (await self._repeat(name, "GET", url, {}, b"", OK)).content

    async def _repeat(
        self,
        name: str,
        method: str,
        url: str,
        headers: dict[str, str],
        content: bytes,
        expected: Collection[int],
    ) -> Answer:
        deadline = time.monotonic() + PATIENCE
        pause = _FIRST_PAUSE
        while True:
            if self._drop and self._dice.random() < self._drop:
                await lose(method, url, headers, content, self._dice)
                self._meter.repeats["answer dropped"] += 1
                continue
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
                    answer = Answer(response.status, await response.read())
                    asked = response.headers.get("Retry-After", "1")
            except (aiohttp.ClientError, TimeoutError, OSError) as fault:
                why = f"no answer: {type(fault).__name__}"
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
                self._meter.errors[why] += 1
            else:
                self._meter.took(name, time.perf_counter() - started)
                why = _reason_to_repeat(answer)
                if why is None:
                    return self._checked(name, answer, expected)
                wait = float(asked) if asked.isdigit() else 1.0
                if why == "429":
                    deadline = max(deadline, time.monotonic() + wait + PATIENCE)
            self._meter.repeats[why] += 1
            if time.monotonic() + wait > deadline:
                self._meter.errors[f"{name}: gave up"] += 1
                raise CallFailed(name, None, f"no final answer in {PATIENCE:.0f} s; last: {why}")
            await asyncio.sleep(wait)

    def _checked(self, name: str, answer: Answer, expected: Collection[int]) -> Answer:
        if answer.status in expected:
            return answer
        error = _error(answer.content)
        self._meter.errors[f"{name}: {answer.status} {error.code}"] += 1
        shown = error.message or answer.content[:300].decode(errors="replace")
        raise CallFailed(name, answer.status, f"{answer.status} {shown}")


def _reason_to_repeat(answer: Answer) -> str | None:
    """Why the call must be repeated after this answer; None when the answer is final."""
    if answer.status in (425, 429, 503):
        return str(answer.status)
    if answer.status == 409 and _IN_USE in answer.content:
        return "409 idempotency_key_in_use"  # our own call whose answer was lost still runs
    return None


class _Error(msgspec.Struct):
    code: str
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Error


def _error(content: bytes) -> _Error:
    try:
        return msgspec.json.decode(content, type=_Refusal).error
    except msgspec.DecodeError:
        return _Error("without an error code")
