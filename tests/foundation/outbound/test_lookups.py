"""Look-ups of names: shared, limited in time and in threads, and never in the event loop's own pool."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from lapel.foundation.outbound.lookups import TENANT, LookupNotMade, Lookups, system_lookup


class Names:
    """A name server whose names below `hanging.example` and `slow.example` get no answer until `release`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.waiting = 0
        self._lock = threading.Lock()
        self._go = threading.Event()

    def lookup(self, host: str) -> Sequence[str]:
        with self._lock:
            self.asked[host] += 1
        if host.endswith(("hanging.example", "slow.example")):
            with self._lock:
                self.waiting += 1
            self._go.wait(60)
        if host == "missing.example":
            raise OSError("no such name")
        return ["192.0.2.1"]

    def release(self) -> None:
        self._go.set()


async def asked(lookups: Lookups, tenant: int, host: str) -> Sequence[str]:
    """A look-up for a tenant, in a context of its own as a task has it."""

    async def ask() -> Sequence[str]:
        TENANT.set(tenant)
        return await lookups.addresses(host)

    return await asyncio.create_task(ask())


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.release()


async def test_an_answer_is_given_and_not_kept(names: Names) -> None:
    lookups = Lookups(names.lookup, 10)
    assert await lookups.addresses("a.example") == ["192.0.2.1"]
    assert await lookups.addresses("a.example") == ["192.0.2.1"]
    assert names.asked["a.example"] == 2


async def test_callers_at_the_same_time_share_a_look_up(names: Names) -> None:
    lookups = Lookups(names.lookup, 10)
    callers = [asyncio.create_task(lookups.addresses("one.slow.example")) for _ in range(50)]
    await asyncio.sleep(0)
    names.release()
    assert await asyncio.gather(*callers) == [["192.0.2.1"]] * 50
    assert names.asked["one.slow.example"] == 1


async def test_a_name_without_an_address_is_an_error(names: Names) -> None:
    with pytest.raises(OSError, match="no such name"):
        await Lookups(names.lookup, 10).addresses("missing.example")
    with pytest.raises(OSError, match="not valid"):
        await Lookups(system_lookup, 10).addresses("a" * 64 + ".example")


async def test_a_name_that_hangs_ends_in_time(names: Names) -> None:
    with pytest.raises(TimeoutError):
        await Lookups(names.lookup, 0.01).addresses("hanging.example")


async def test_hanging_names_hold_up_neither_other_names_nor_the_loops_own_pool(names: Names) -> None:
    lookups = Lookups(names.lookup, 60)
    hanging = [asyncio.create_task(asked(lookups, 1, f"{no}.hanging.example")) for no in range(1000)]
    await asyncio.sleep(0)
    # Of another tenant, below the same domain, and the operator's own.
    assert await asked(lookups, 2, "another.example") == ["192.0.2.1"]
    assert await asked(lookups, 0, "another.example") == ["192.0.2.1"]
    assert await asyncio.to_thread(lambda: "free") == "free"
    assert names.asked.total() == 8 + 2  # a tenant has eight threads
    names.release()
    assert await asyncio.gather(*hanging) == [["192.0.2.1"]] * 1000


async def test_a_name_that_no_thread_looked_up_is_told_from_one_that_hangs(names: Names) -> None:
    lookups = Lookups(names.lookup, 0.2)
    hanging = [asyncio.create_task(asked(lookups, 1, f"{no}.hanging.example")) for no in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(LookupNotMade):
        await asked(lookups, 1, "good.example")
    assert {type(end) for end in await asyncio.gather(*hanging, return_exceptions=True)} == {TimeoutError}
    names.release()


async def test_a_caller_who_gives_up_leaves_the_look_up_to_the_others(names: Names) -> None:
    lookups = Lookups(names.lookup, 10)
    gone = asyncio.create_task(lookups.addresses("slow.example"))
    stays = asyncio.create_task(lookups.addresses("slow.example"))
    await asyncio.sleep(0)
    gone.cancel()
    names.release()
    assert await stays == ["192.0.2.1"]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_this_machine_has_a_name() -> None:
    assert set(await Lookups(system_lookup, 10).addresses("localhost")) <= {"127.0.0.1", "::1"}
