"""Rows that the statements of webhooks give. `metadata` is a JSON text."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.webhooks.wire import DisabledReason, Status


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook, without its secrets."""

    id: str
    url: str
    events: list[str]
    description: str | None
    metadata: str
    status: Status
    disabled_reason: DisabledReason | None
    created_at: datetime
    updated_at: datetime


class DisabledWebhookRow(WebhookRow, frozen=True):
    """A webhook that was just disabled, and its project."""

    project_id: str
