"""When a step is tried again, after it raised TryAgain (for example on a service's 429).

After a worker has died and the lease has ended, `CLAIM` in work_queries.py gives the step to another one.

`providers/http/http_errors.py` reads from a service's answer how long the service asks to wait. The runner
puts the step back for that time. If the pause of this file is longer, the runner uses the pause.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lapel.slices.transcription.speech.failures import TryAgain

# After this many failed tries, a step has failed for good.
_MAX_FAILURES = 8


def wait_after(failures: int, error: TryAgain) -> timedelta | None:
    """The wait after `failures` failed tries, the last of them with `error`; None: there is no next try."""
    pause = pause_after(failures)
    return None if pause is None else timedelta(seconds=max(pause, error.after or 0.0))


def pause_after(failures: int) -> float | None:
    """Seconds to wait after `failures` failed tries; None: the step has failed for good.

    The longest pause is 128 seconds; all pauses together are about four minutes.
    """
    return None if failures >= _MAX_FAILURES else 2.0**failures
