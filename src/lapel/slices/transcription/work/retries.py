"""When a step is tried again: a step that raised TryAgain (after a service's 429, for example), and a step
whose worker died.

`providers/http/http_errors.py` reads from a service's answer how long the service asks to wait. The runner
puts the step back for that time, or for the pause of this file if it is longer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.slices.transcription.speech.failures import TryAgain

# Starts of one step that may end with the death of its worker. `CLAIM` in work_queries.py gives such a step
# to a worker again once the lease has ended; a start beyond this number fails the step.
MAX_STARTS = 5
# Failed tries of one step after which it has failed for good.
_MAX_FAILURES = 8
_LONGEST_BACKOFF = 300.0


def wait_after(failures: int, error: TryAgain) -> timedelta | None:
    """The wait of a step that has failed so many times, the last time with `error`; None: it gets no try."""
    pause = pause_after(failures)
    return None if pause is None else timedelta(seconds=max(pause, error.after or 0.0))


def pause_after(failures: int) -> float | None:
    """Seconds to wait after so many failed tries; None: the step has failed for good, after some minutes."""
    return None if failures >= _MAX_FAILURES else min(2.0**failures, _LONGEST_BACKOFF)
