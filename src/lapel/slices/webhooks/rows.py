"""Rows that the statements of webhooks give. `metadata` is a JSON text."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.webhooks.wire import DeliveryFailure, DeliveryStatus, DisabledReason, RecoveryState, Status


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook, without its secrets. `recovery_…`: the newest recovery; None before the first one."""

    id: str
    url: str
    events: list[str]
    description: str | None
    metadata: str
    status: Status
    disabled_reason: DisabledReason | None
    verified_at: datetime | None
    created_at: datetime
    updated_at: datetime
    recovery_since: datetime | None
    recovery_until: datetime | None
    recovery_state: RecoveryState | None
    recovery_queued: int
    recovery_brought_forward: int
    recovery_ended_at: datetime | None


class WebhookUrlRow(msgspec.Struct, frozen=True):
    """A webhook's URL, as its owner wrote it."""

    id: str
    url: str


class SealedRow(msgspec.Struct, frozen=True):
    """A webhook's sealed secret, and the former one while that is valid."""

    world_id: int
    id: str
    sealed_secret: bytes
    sealed_previous_secret: bytes | None


class DisabledWebhookRow(WebhookRow, frozen=True):
    """A webhook that was just disabled, and its world's project."""

    project_id: str


class WalkedRow(msgspec.Struct, frozen=True):
    """An event without its body."""

    id: str
    type: str
    resource_id: str
    position: int
    created_at: datetime


class ResentRow(WalkedRow, frozen=True):
    """An event without its body, with the end user whom it is about."""

    end_user_id: str | None


class WebhookDeliveryRow(msgspec.Struct, frozen=True):
    """A delivery. `started_at`, `status` and `error` are those of its newest attempt. `failure`: why it
    failed without one."""

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    state: DeliveryStatus
    attempts: int
    due_at: datetime | None
    ended_at: datetime | None
    failure: DeliveryFailure | None
    created_at: datetime
    started_at: datetime | None
    status: int | None
    error: str | None


class DeliveryAttemptRow(msgspec.Struct, frozen=True):
    """An attempt. `answer`: the first bytes of the answer's body."""

    number: int
    started_at: datetime
    latency_ms: int
    status: int | None
    error: str | None
    answer: bytes | None
