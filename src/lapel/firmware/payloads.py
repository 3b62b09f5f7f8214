"""What this slice's jobs are called, and what they are told."""

from __future__ import annotations

import msgspec

# Offers the release to the next devices, halts on failures, and tells when the rollout is over.
ADVANCE = "firmware.advance-rollout"
# Takes back what no device has begun of a rollout that is paused or halted.
WITHDRAW = "firmware.withdraw-rollout"


class RolloutJob(msgspec.Struct, frozen=True):
    """Which rollout."""

    world_id: int
    rollout_id: str
