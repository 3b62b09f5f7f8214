"""The name and payload of this slice's job."""

from __future__ import annotations

import msgspec

WORK = "summaries.work"
# How many summaries each worker process makes at a time.
AT_ONCE = 8


class WorkOnSummary(msgspec.Struct, frozen=True):
    """There is a summary to make. The worker that takes the job begins with the next one in order, which may
    be another one."""

    world_id: int
    id: str
