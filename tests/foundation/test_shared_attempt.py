"""One attempt for all who wait; an error is not kept, and nobody who leaves ends it."""

from __future__ import annotations

import asyncio

import pytest

from lapel.foundation.shared_attempt import SharedAttempt


class Making:
    """Makes numbers, once `go` is set; the first `failures` attempts fail."""

    def __init__(self, failures: int = 0) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self._failures = failures
        self.shared = SharedAttempt(self.make, "making")

    async def make(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.wait()
        if number <= self._failures:
            raise OSError(number)
        return number


async def test_all_who_wait_get_what_one_attempt_made() -> None:
    making = Making()
    making.shared._begin()
    waiting = [asyncio.create_task(making.shared.get()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    making.go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert [await each for each in waiting[1:]] == [1, 1]
    assert (await making.shared.get(), making.begun) == (1, 1)


async def test_all_who_wait_get_the_error_and_the_next_caller_tries_again() -> None:
    making = Making(failures=1)
    waiting = [asyncio.create_task(making.shared.get()) for _ in range(2)]
    making.go.set()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(each) for each in failed] == ["1", "1"]
    assert await making.shared.get() == 2


async def test_what_was_made_is_returned_once_and_made_again() -> None:
    making = Making()
    making.go.set()
    assert await making.shared.forget() is None
    assert await making.shared.get() == 1
    assert await making.shared.forget() == 1
    assert await making.shared.forget() is None
    assert await making.shared.get() == 2


async def test_an_attempt_under_way_ends_when_it_is_forgotten() -> None:
    making = Making()
    attempt = making.shared._begin()
    await asyncio.sleep(0)
    assert await making.shared.forget() is None
    assert attempt.cancelled()
    making.go.set()
    assert await making.shared.get() == 2
