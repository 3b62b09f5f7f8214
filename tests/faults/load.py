"""Many clients at once, until `stop` is set."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from tests.faults.lives import LIVES, Life
from tests.faults.stubborn import GaveUp, Stubborn


class Load:
    """`clients` tasks; each runs the lives of recordings one after the other."""

    def __init__(self, client: Stubborn, token: str, seed: str, clients: int) -> None:
        self.lived: Counter[str] = Counter()
        self._client = client
        self._token = token
        self._seed = seed
        self._clients = clients

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`; lives that have begun run to their end."""
        body = {"external_id": f"load-{self._seed}"}
        answer = await self._client.api(
            "POST", "/end-users", self._token, body=body, key="end-user", allowed=(201,)
        )
        end_user_id: str = answer.json()["id"]
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._one(number, end_user_id, stop))

    async def _one(self, number: int, end_user_id: str, stop: asyncio.Event) -> None:
        random = Random(f"{self._seed}/{number}")
        lives, weights = zip(*LIVES, strict=True)
        while not stop.is_set():
            live = random.choices(lives, weights)[0]
            life = Life(self._client, self._token, end_user_id, Random(random.getrandbits(64)))
            try:
                await live(life)
            except GaveUp:
                self.lived["gave up"] += 1
            except ExceptionGroup as several:
                if several.split(GaveUp)[1] is not None:
                    raise
                self.lived["gave up"] += 1
            else:
                self.lived[live.__name__] += 1
