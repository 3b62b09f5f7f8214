"""Metrics of deliveries. No metric names a project or a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryAttempt

_ATTEMPTS = Counter(
    "lapel_webhook_attempts",
    "Attempts to deliver an event, by the class of the answer's status (`2xx`), or `none` without an answer.",
    ("answer",),
)
_SECONDS = Histogram(
    "lapel_webhook_attempt_seconds",
    "Time from the beginning of an attempt to the status line of its answer, or to the fault.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30),
)
LAG = Histogram(
    "lapel_webhook_lag_seconds",
    "Time from an event to the first attempt of a delivery of it.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
# Looking up a label takes as long as counting.
_COUNTERS: dict[int, Counter] = {}
IN_FLIGHT = Gauge(
    "lapel_webhook_attempts_in_flight", "Attempts that run, every three seconds.", multiprocess_mode="sum"
)

REFUSED = Counter(
    "lapel_webhook_deliveries_refused",
    "Deliveries that failed without an attempt, because their webhook had all the pending ones it may have.",
)


def observe(attempt: DeliveryAttempt, seconds: float) -> None:
    """Count an attempt that took so long."""
    kind = 0 if attempt.status is None else attempt.status // 100
    counter = _COUNTERS.get(kind)
    if counter is None:
        counter = _COUNTERS[kind] = _ATTEMPTS.labels(f"{kind}xx" if kind else "none")
    counter.inc()
    _SECONDS.observe(seconds)
