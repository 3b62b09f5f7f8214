"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

# Offers the release to the next devices, halts the rollout if too many updates fail, completes it at the end.
ADVANCE = "firmware.advance-rollout"
# Withdraws the pending offers of a paused or halted rollout.
WITHDRAW = "firmware.withdraw-rollout"


class RolloutJob(msgspec.Struct, frozen=True):
    """The id of a rollout and its world."""

    world_id: int
    rollout_id: str
