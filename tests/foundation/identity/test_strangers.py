"""Bad tokens are counted per address, for a minute or two, in bounded memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.identity.strangers import Strangers

START = datetime(2026, 1, 15, 12, 0, 10, tzinfo=UTC)


def flood(strangers: Strangers, host: str | None, count: int = 1000) -> None:
    for _ in range(count):
        strangers.note(host)


@pytest.mark.parametrize(
    ("sender", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("no address", "no address", "another"),
        (None, None, "192.0.2.1"),
    ],
)
def test_an_address_of_many_bad_tokens_is_suspicious_and_no_other_is(
    sender: str | None, same: str | None, other: str | None
) -> None:
    strangers = Strangers(ManualClock(START))
    assert not strangers.suspects(same)
    flood(strangers, sender)
    assert strangers.suspects(same)
    assert not strangers.suspects(other)


def test_a_few_bad_tokens_are_nothing_and_many_are_forgotten() -> None:
    clock = ManualClock(START)
    strangers = Strangers(clock)
    flood(strangers, "192.0.2.1", 5)
    assert not strangers.suspects("192.0.2.1")
    flood(strangers, "192.0.2.1")
    clock.advance(timedelta(minutes=1))
    assert strangers.suspects("192.0.2.1")
    clock.advance(timedelta(minutes=1))
    assert not strangers.suspects("192.0.2.1")
    flood(strangers, "192.0.2.1")
    clock.advance(timedelta(hours=-1))  # a clock that was set back
    assert not strangers.suspects("192.0.2.1")


def test_memory_is_bounded_whatever_addresses_come() -> None:
    clock = ManualClock(START)
    strangers = Strangers(clock)
    flood(strangers, "192.0.2.1")
    for minute in range(2):
        for number in range(12_000):
            strangers.note(f"10.{minute}.{number // 250}.{number % 250}")
        clock.advance(timedelta(minutes=1))
    assert len(strangers._counts) + len(strangers._before) <= 20_000
    flood(strangers, "2001:db8::1")
    assert strangers.suspects("2001:db8::1")
    strangers.note("x" * 100_000)
    assert max(map(len, strangers._counts)) < 100
