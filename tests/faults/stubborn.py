"""A client that repeats a dropped call, a 503 and a 425 with the same bytes until it gets a final answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx

from tests.faults.journal import Journal, Surprise
from tests.support.client import still_runs
from tests.support.tenants import bearer

# Statuses that are possible while processes die and restart; any other status is final.
REPEATED = {425, 503}
# Seconds without any answered call, after which a call fails. As long as other calls are answered, processes
# are still being killed; after the last kill a job may wait for its next try.
PATIENCE = 120.0
PAUSE = 0.1


class GaveUp(Exception):
    """A call got no final answer in time, or one that the contract does not allow; the journal has it."""


class Stubborn:
    """Calls one of `addresses`, and the next one when it does not answer. Tasks may share it."""

    def __init__(self, http: httpx.AsyncClient, addresses: Sequence[str], journal: Journal) -> None:
        self.http = http
        self.journal = journal
        self.repeats = 0
        self.answers = 0
        self._addresses = tuple(addresses)

    async def api(
        self,
        method: str,
        path: str,
        token: str,
        *,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        allowed: Collection[int] = (200,),
    ) -> httpx.Response:
        """The first final answer. Raises GaveUp when its status is not `allowed`, or no answer comes."""
        headers = bearer(token) | ({"Idempotency-Key": key} if key else {})
        call = f"{method} {path} {body or ''}"
        return await self._repeat(
            call,
            allowed,
            [(method, f"{address}/v1{path}", headers, body, None) for address in self._addresses],
        )

    async def put(self, url: str, headers: Mapping[str, str], content: bytes) -> httpx.Response:
        """PUT to a signed link until it is stored. Raises GaveUp when it is refused, or no answer comes."""
        call = f"PUT {httpx.URL(url).path} {len(content)}"
        return await self._repeat(call, (200,), [("PUT", url, dict(headers), None, content)])

    async def get(self, url: str, allowed: Collection[int] = (200,)) -> httpx.Response:
        """GET a signed link. Raises GaveUp when its status is not `allowed`, or no answer comes."""
        return await self._repeat(f"GET {httpx.URL(url).path}", allowed, [("GET", url, {}, None, None)])

    async def _repeat(
        self,
        call: str,
        allowed: Collection[int],
        targets: Sequence[tuple[str, str, Mapping[str, str], Mapping[str, Any] | None, bytes | None]],
    ) -> httpx.Response:
        last = "no answer"
        tries = 0
        try:
            async with asyncio.timeout(PATIENCE) as patience:
                heard = self.answers
                while True:
                    method, url, headers, body, content = targets[tries % len(targets)]
                    tries += 1
                    try:
                        answer = await self.http.request(
                            method, url, headers=headers, json=body, content=content
                        )
                    except httpx.TransportError as dropped:
                        last = repr(dropped)
                    else:
                        last = f"{answer.status_code} {answer.text[:300]}"
                        # 409: our own dropped call still runs
                        if not still_runs(answer) and answer.status_code not in REPEATED:
                            break
                    self.repeats += 1
                    if self.answers != heard:
                        heard = self.answers
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise self._surprise(call, f"gave up after {tries} tries: {last}") from None
        self.answers += 1
        if answer.status_code not in allowed:
            raise self._surprise(call, last)
        return answer

    def _surprise(self, call: str, answer: str) -> GaveUp:
        self.journal.write(Surprise(call, answer))
        return GaveUp(f"{call}: {answer}")
