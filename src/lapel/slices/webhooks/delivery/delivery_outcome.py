"""What came of a delivery: its attempts, and what is to be written of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["pending", "succeeded", "failed"]


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """One request. `status` is None without an answer; `error` then says why. `answer`: the beginning of the
    answer's body."""

    started_at: datetime
    latency_ms: int
    status: int | None
    error: str | None
    answer: bytes | None

    @property
    def succeeded(self) -> bool:
        """Whether the answer was a 2xx."""
        return self.status is not None and 200 <= self.status < 300


class DeliveryOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery: its attempts (two, if the second was signed with the previous secret), its
    new state, and the seconds until the next attempt if it stays pending. `pause_seconds`: for so long the
    receiver asks for no request at all."""

    world_id: int
    delivery_id: str
    webhook_id: str
    url: str
    attempts: list[DeliveryAttempt]
    state: State
    wait_seconds: float | None
    gone: bool
    pause_seconds: float | None
    probe: bool
