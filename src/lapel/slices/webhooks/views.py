"""From rows to the contract's structs of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.webhooks.wire import Delivery, ShownAttempt, Webhook, WholeDelivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.webhooks.rows import DeliveryAttemptRow, WebhookDeliveryRow, WebhookRow


def webhook_of(row: WebhookRow, project_id: str) -> Webhook:
    """A webhook as GET answers it."""
    return Webhook(
        id=row.id,
        project_id=project_id,
        url=row.url,
        events=row.events,
        description=row.description,
        metadata=raw(row.metadata),
        status=row.status,
        disabled_reason=row.disabled_reason,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def delivery_of(row: WebhookDeliveryRow) -> Delivery:
    """A delivery as lists show it."""
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_type=row.event_type,
        status=row.state,
        attempt_count=row.attempts,
        last_attempt_at=timestamp_or_none(row.started_at),
        response_status=row.status,
        error=row.error,
        next_attempt_at=timestamp_or_none(row.due_at),
        ended_at=timestamp_or_none(row.ended_at),
        created_at=timestamp(row.created_at),
    )


def whole_delivery_of(row: WebhookDeliveryRow, attempts: Sequence[DeliveryAttemptRow]) -> WholeDelivery:
    """A delivery with these attempts."""
    shown = msgspec.structs.asdict(delivery_of(row))
    return WholeDelivery(**shown, attempts=[_attempt_of(each) for each in attempts])


def _attempt_of(row: DeliveryAttemptRow) -> ShownAttempt:
    answer = row.answer
    return ShownAttempt(
        number=row.number,
        started_at=timestamp(row.started_at),
        latency_ms=row.latency_ms,
        response_status=row.status,
        error=row.error,
        # Bytes that are no text, and NUL, are shown as U+FFFD.
        response_body=None if answer is None else answer.decode(errors="replace").replace("\0", "\ufffd"),
    )
