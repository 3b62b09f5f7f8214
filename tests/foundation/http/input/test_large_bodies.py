"""Bodies that arrive slowly: how many bytes of them are in memory, and who gets room."""

from __future__ import annotations

import asyncio

import pytest

from lapel.foundation.core.asgi import ClientGone, Message
from lapel.foundation.core.errors import PayloadTooLarge, Unavailable
from lapel.foundation.http.input.large_bodies import LargeBodies
from tests.support.patience import LONG

LIMIT = 2**20
LATE = LIMIT - 10  # bytes that come at once; the rest waits


class Sender:
    """A client that sends some bytes of a body at once, and the rest when the test lets it."""

    def __init__(self, size: int = LIMIT, first: int = LATE) -> None:
        self._pieces = [bytes(first), bytes(size - first)]
        self.rest, self.waits = asyncio.Event(), asyncio.Event()

    async def receive(self) -> Message:
        if len(self._pieces) == 1:
            self.waits.set()
            await self.rest.wait()
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}


def begin(bodies: LargeBodies, sender: Sender, world: int) -> asyncio.Task[bytes]:
    return asyncio.create_task(bodies.collect(sender.receive, world, expected=LIMIT, limit=LIMIT))


async def test_a_world_holds_a_share_of_the_room_and_leaves_the_rest() -> None:
    bodies, attackers, other = LargeBodies(LIMIT, window=0.2), [Sender() for _ in range(100)], Sender()
    taken = [begin(bodies, each, 1) for each in attackers]
    while sum(not each.done() for each in taken) > 32:  # 32 MiB
        await asyncio.wait([each for each in taken if not each.done()], return_when="FIRST_COMPLETED")
    ended = [each for each in taken if each.done()]  # without room, or too slow while others waited
    assert {type(each.exception()) for each in ended} == {Unavailable}
    honest = begin(bodies, other, 2)
    other.rest.set()
    assert len(await asyncio.wait_for(honest, LONG)) == LIMIT
    for each in attackers:
        each.rest.set()
    await asyncio.wait(taken)


async def test_slow_clients_keep_their_room_while_no_other_waits() -> None:
    bodies, senders = LargeBodies(LIMIT, window=0.05), [Sender() for _ in range(20)]
    taken = [begin(bodies, each, 1) for each in senders]
    for each in senders:
        await asyncio.wait_for(each.waits.wait(), LONG)
    _, running = await asyncio.wait(taken, timeout=0.5)
    assert len(running) == 20
    for each in senders:
        each.rest.set()
    assert {len(each) for each in await asyncio.gather(*taken)} == {LIMIT}


async def test_small_bodies_need_no_room() -> None:
    bodies = LargeBodies(LIMIT, window=0.05)
    slow = [Sender(size=1000, first=10) for _ in range(1000)]
    taken = [begin(bodies, each, 1) for each in slow]
    for each in slow:
        await asyncio.wait_for(each.waits.wait(), LONG)
        each.rest.set()
    assert {len(each) for each in await asyncio.gather(*taken)} == {1000}


async def test_a_body_over_the_limit_is_refused_and_a_client_that_leaves_is_told() -> None:
    bodies, large = LargeBodies(LIMIT), Sender(size=LIMIT + 1)
    large.rest.set()
    with pytest.raises(PayloadTooLarge):
        await begin(bodies, large, 1)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await bodies.collect(gone, 1, expected=LIMIT, limit=LIMIT)
