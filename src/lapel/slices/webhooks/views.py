"""From rows to the contract's structs of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.webhooks.wire import Delivery, Recovery, ShownAttempt, Webhook, WholeDelivery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.slices.webhooks.rows import DeliveryAttemptRow, WebhookDeliveryRow, WebhookRow
    from lapel.slices.webhooks.wire import DeliveryFailure

# Why a delivery failed without an attempt, for the webhook's owner.
_FAILURES: Mapping[DeliveryFailure | None, str | None] = {
    None: None,
    "too_many_pending": "not attempted: the webhook had as many pending deliveries as it may have. When it "
    "has fewer, recover its events: POST /v1/webhooks/{id}/recover.",
}


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
        verified_at=timestamp_or_none(row.verified_at),
        recovery=recovery_of(row),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def recovery_of(row: WebhookRow) -> Recovery | None:
    """The newest recovery of a webhook; None before the first one."""
    if row.recovery_since is None or row.recovery_until is None or row.recovery_state is None:
        return None
    return Recovery(
        webhook_id=row.id,
        since=timestamp(row.recovery_since),
        until=timestamp(row.recovery_until),
        status=row.recovery_state,
        queued=row.recovery_queued,
        brought_forward=row.recovery_brought_forward,
        ended_at=timestamp_or_none(row.recovery_ended_at),
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
        error=row.error or _FAILURES[row.failure],
        next_attempt_at=timestamp_or_none(row.due_at),
        ended_at=timestamp_or_none(row.ended_at),
        created_at=timestamp(row.created_at),
    )


def whole_delivery_of(
    row: WebhookDeliveryRow, attempts: Sequence[DeliveryAttemptRow], *, shows_answers: bool
) -> WholeDelivery:
    """A delivery with these attempts, with or without what the receiver answered."""
    shown = msgspec.structs.asdict(delivery_of(row))
    return WholeDelivery(**shown, attempts=[_attempt_of(each, shows_answers) for each in attempts])


def _attempt_of(row: DeliveryAttemptRow, shows_answer: bool) -> ShownAttempt:
    answer = row.answer if shows_answer else None
    return ShownAttempt(
        number=row.number,
        started_at=timestamp(row.started_at),
        latency_ms=row.latency_ms,
        response_status=row.status,
        error=row.error,
        # Bytes that are no text, and NUL, are shown as U+FFFD.
        response_body=None if answer is None else answer.decode(errors="replace").replace("\0", "\ufffd"),
    )
