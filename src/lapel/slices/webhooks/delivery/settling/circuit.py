"""The circuit of a webhook: after failures in a row it gets one probe at a time, until one succeeds.

A receiver opens it too, by an answer that asks for a pause. The circuit of a webhook that was never verified
is open from the beginning: a receiver that has answered no event with 2xx gets one attempt at a time.

Pattern: M. Nygard, "Release It!", circuit breaker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

# So many failures in a row open the circuit; of a webhook that is not verified, the first one.
OPENS_AFTER = 10
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 10
DISABLED_AFTER = timedelta(days=5)


class AttemptEnd(msgspec.Struct, frozen=True):
    """How an attempt ended. `probe`: it was made while the circuit was open. `pause_seconds`: for so long the
    receiver asks for no request."""

    succeeded: bool
    probe: bool = False
    pause_seconds: float | None = None


class Circuit(msgspec.Struct, frozen=True):
    """`failures`: in a row; while the circuit is open, only failed probes count. `failing_since`: the first
    of them. `paused_until` is set while the circuit is open: the time of the next probe. `verified_at`: the
    first success; None before it."""

    failures: int
    failing_since: datetime | None
    paused_until: datetime | None
    verified_at: datetime | None

    @property
    def opens_after(self) -> int:
        """The number of failures in a row that opens the circuit."""
        return OPENS_AFTER if self.verified_at is not None else 1

    def may_be_given_up(self, now: datetime) -> bool:
        """Whether the webhook has failed for so long that it is disabled."""
        return self.failing_since is not None and self.failing_since <= now - DISABLED_AFTER

    def has_ended_outage(self, before: Circuit) -> bool:
        """Whether this circuit is closed, and the one `before` was open because of failures."""
        return self.paused_until is None and before.failures >= before.opens_after


def after_attempts(
    circuit: Circuit, ends: Iterable[AttemptEnd], now: datetime, chance: Callable[[], float]
) -> Circuit:
    """The circuit after attempts, in the order of their ends.

    `chance`: a random number from 0 to 1, which spreads the probes. A failed attempt that began before the
    circuit opened changes nothing, unless its answer asks for a longer pause.
    """
    for end in ends:
        if end.succeeded:
            # What was on its way when the receiver asked for a pause does not end the pause.
            asked = circuit.failures < circuit.opens_after and not end.probe
            paused_until = circuit.paused_until if asked and circuit.verified_at is not None else None
            circuit = Circuit(0, None, paused_until, circuit.verified_at or now)
        elif circuit.paused_until is None or end.probe:
            circuit = _failed(circuit, now, chance)
        if end.pause_seconds is not None:
            until = now + timedelta(seconds=end.pause_seconds)
            circuit = msgspec.structs.replace(circuit, paused_until=max(circuit.paused_until or until, until))
    return circuit


def _failed(circuit: Circuit, now: datetime, chance: Callable[[], float]) -> Circuit:
    failures = circuit.failures + 1
    since = circuit.failing_since or now
    if failures < circuit.opens_after:
        return Circuit(failures, since, None, circuit.verified_at)
    doublings = min(failures - circuit.opens_after, _MOST_DOUBLINGS)
    pause = min(_FIRST_PAUSE * 2**doublings, _LONGEST_PAUSE) * (0.8 + 0.2 * chance())
    return Circuit(failures, since, now + timedelta(seconds=pause), circuit.verified_at)
