"""Times of answers, as Prometheus reads them."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from lapel.foundation.answer_times import AllAnswerTimes


def _shown(name: str, operation: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(
        f"lapel_http_request_seconds_{name}", {"operation": operation, "status": "200", **labels}
    )


def test_without_an_event_loop_each_is_written_at_once() -> None:
    times = AllAnswerTimes()
    for seconds in (0.001, 0.0011, 0.3, 99.0):
        times.add("written_at_once", 200, seconds)
    assert _shown("count", "written_at_once") == 4
    assert _shown("sum", "written_at_once") == 0.001 + 0.0011 + 0.3 + 99.0
    # A bucket counts all answers that took as long as its bound, or less.
    within = {"0.001": 1, "0.0025": 2, "0.25": 2, "0.5": 3, "30.0": 3, "+Inf": 4}
    assert {bound: _shown("bucket", "written_at_once", le=bound) for bound in within} == within


async def test_in_an_event_loop_they_are_written_together_soon() -> None:
    times = AllAnswerTimes()
    for _ in range(1000):
        times.add("written_soon", 200, 0.004)
    assert _shown("count", "written_soon") == 0
    await asyncio.sleep(0.4)
    assert _shown("count", "written_soon") == 1000
    times.add("written_soon", 200, 0.004)
    await asyncio.sleep(0.4)
    assert _shown("count", "written_soon") == 1001


def test_an_event_loop_that_ends_takes_no_times_along() -> None:
    times = AllAnswerTimes()

    async def answer() -> None:
        times.add("two_loops", 200, 0.004)

    asyncio.run(answer())
    asyncio.run(answer())
    times.add("two_loops", 200, 0.004)
    assert _shown("count", "two_loops") == 3


async def test_what_is_counted_is_written_on_demand_and_once() -> None:
    times = AllAnswerTimes()
    times.add("written_on_demand", 200, 0.004)
    assert times.add("written_on_demand", 200, 0.004).seen == 2
    times.write()
    times.write()
    assert _shown("count", "written_on_demand") == 2
    await asyncio.sleep(0.3)  # the timer finds nothing
    assert _shown("count", "written_on_demand") == 2
