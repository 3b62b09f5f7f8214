"""The text form of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.clock import timestamp

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001 - given below
    st.just(UTC) | ZONES,
    st.sampled_from([None, 0, 1, 999, 1_000, 999_999]),
)
def test_a_time_is_utc_with_milliseconds(moment: datetime, zone: timezone, microsecond: int | None) -> None:
    if microsecond is not None:
        moment = moment.replace(microsecond=microsecond)
    moment = moment.replace(tzinfo=zone)
    shown = timestamp(moment)
    assert len(shown) == 24
    assert shown == moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].rjust(23, "0") + "Z"


@pytest.mark.parametrize(
    ("microsecond", "shown"), [(0, "000"), (999, "000"), (1_000, "001"), (999_999, "999")]
)
def test_a_part_of_a_millisecond_is_cut(microsecond: int, shown: str) -> None:
    moment = datetime(2026, 1, 15, 12, microsecond=microsecond, tzinfo=UTC)
    assert timestamp(moment) == f"2026-01-15T12:00:00.{shown}Z"
