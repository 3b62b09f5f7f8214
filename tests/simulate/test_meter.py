"""Counting in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lapel.simulate.client.meter import Histogram, Meter


@given(
    st.lists(st.floats(min_value=0.02, max_value=100_000), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.95, 0.99, 1.0]),
)
def test_a_quantile_is_within_two_percent(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = next(value for rank, value in enumerate(sorted(values), 1) if rank >= share * len(values) - 1e-9)
    found = histogram.quantile(share)
    assert found is not None
    assert exact * 0.98 - 0.01 <= found <= exact * 1.03 + 0.01


def test_what_is_out_of_range_is_counted_at_the_edge() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    for value in (0, -1, 1e9):
        histogram.add(value)
    assert histogram.count == 3
    smallest, largest = histogram.quantile(0.1), histogram.quantile(1)
    assert smallest is not None
    assert largest is not None
    assert smallest < 0.02
    assert largest > 100_000


def test_a_call_counts_for_itself_and_for_the_whole() -> None:
    meter = Meter()
    for _ in range(3):
        meter.took("heartbeat", 0.001)
    meter.took("bind", 0.1)
    assert {name: each.count for name, each in meter.calls.items()} == {"heartbeat": 3, "bind": 1}
    assert meter.total.count == 4
