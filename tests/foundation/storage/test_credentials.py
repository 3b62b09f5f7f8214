"""Credentials that expire are renewed in time and never by making a request wait."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lapel.foundation.core.clock import ManualClock, SystemClock
from lapel.foundation.storage.credentials import Credentials, RefreshingCredentials, botocore_chain
from lapel.foundation.storage.errors import StoreUnavailable

START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class Provider:
    """Hands out numbered credentials of one hour, fails or hangs on demand, and counts its calls."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.calls, self.failing = clock, 0, False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Credentials:
        self.calls += 1
        self.gate.wait(10)
        if self.failing:
            raise OSError("no route to the metadata service")
        return Credentials(f"AKID{self.calls}", "secret", "token", self.clock.now() + timedelta(hours=1))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


def eventually(check: Callable[[], bool]) -> None:
    for _ in range(1000):
        if check():
            return
        threading.Event().wait(0.01)
    raise AssertionError("did not happen in 10 s")


def test_nothing_before_the_first_load(clock: ManualClock) -> None:
    provider = Provider(clock)
    source = RefreshingCredentials(provider, clock)
    assert source.load().access_key_id == "AKID1"
    assert source.current().access_key_id == "AKID1"
    assert provider.calls == 1


def test_a_renewal_happens_behind_the_callers_back(clock: ManualClock) -> None:
    provider = Provider(clock)
    source = RefreshingCredentials(provider, clock)
    source.load()
    provider.gate.clear()
    clock.advance(timedelta(minutes=51))
    for _ in range(20):  # the old ones while the provider hangs, and one renewal only
        assert source.current().access_key_id == "AKID1"
    eventually(lambda: provider.calls == 2)
    provider.gate.set()
    eventually(lambda: source.current().access_key_id == "AKID2")
    assert provider.calls == 2


def test_failures_are_survived_until_the_old_ones_end_and_then_said(clock: ManualClock) -> None:
    provider = Provider(clock)
    source = RefreshingCredentials(provider, clock)
    source.load()
    provider.failing = True
    clock.advance(timedelta(minutes=55))
    assert source.current().access_key_id == "AKID1"
    eventually(lambda: provider.calls == 2)
    clock.advance(timedelta(minutes=5))
    with pytest.raises(StoreUnavailable, match="metadata service"):
        source.current()
    provider.failing = False

    def healed() -> bool:
        clock.advance(timedelta(seconds=6))  # tries are five seconds apart
        try:
            return source.current().access_key_id != "AKID1"
        except StoreUnavailable:
            return False

    eventually(healed)


def test_a_failing_first_load_says_why(clock: ManualClock) -> None:
    provider = Provider(clock)
    provider.failing = True
    with pytest.raises(StoreUnavailable, match="metadata service"):
        RefreshingCredentials(provider, clock).load()


def test_the_aws_chain_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "envsecret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "envtoken")
    assert botocore_chain(SystemClock()).load() == Credentials("AKIDENV", "envsecret", "envtoken", None)
