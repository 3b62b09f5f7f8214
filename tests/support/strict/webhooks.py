"""Webhooks and their deliveries (section 16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import (
    Shape,
    agrees,
    all_of,
    array,
    identifier,
    integer,
    json_object,
    metadata,
    null_or,
    record,
    text,
    time,
    word,
)

TYPES = (
    "recording.created",
    "recording.uploaded",
    "recording.deleted",
    "recording.failed",
    "transcription.started",
    "transcription.completed",
    "transcription.failed",
    "summary.started",
    "summary.completed",
    "summary.failed",
    "device.bound",
    "device.unbound",
    "device.low_battery",
    "device.offline",
    "ota.applied",
    "ota.failed",
    "webhook.disabled",
    "config.updated",
)


def _events(value: Any, at: str) -> Iterator[str]:
    """All events, or distinct types."""
    yield from array(word("*", *TYPES), most=100, least=1)(value, at)
    if isinstance(value, list) and len(value) != len({str(each) for each in value}):
        yield f"{at}: a type is repeated"
    if isinstance(value, list) and "*" in value and len(value) > 1:
        yield f"{at}: * is not alone"


_RECOVERY_FIELDS: dict[str, Shape] = {
    "webhook_id": identifier("wh"),
    "since": time,
    "until": time,
    "status": word("processing", "completed", "stopped"),
    "queued": integer(),
    "brought_forward": integer(),
    "ended_at": null_or(time),
}
_RECOVERY = all_of(
    record(_RECOVERY_FIELDS),
    agrees(
        "only a recovery that ended has an end",
        lambda it: (it["ended_at"] is not None) == (it["status"] != "processing"),
    ),
)
_WEBHOOK: dict[str, Shape] = {
    "id": identifier("wh"),
    "project_id": identifier("proj"),
    "url": text(1, 2048, r"https?://[^\s@#]+"),
    "events": _events,
    "description": null_or(text(0, 500)),
    "metadata": metadata,
    "status": word("enabled", "disabled"),
    "disabled_reason": null_or(word("request", "gone", "failing")),
    "verified_at": null_or(time),
    "recovery": null_or(_RECOVERY),
    "created_at": time,
    "updated_at": time,
}
_TIES = agrees(
    "only what is disabled has a reason",
    lambda it: (it["disabled_reason"] is not None) == (it["status"] == "disabled"),
)
# 32 bytes in base64.
_SECRET = text(pattern=r"whsec_[A-Za-z0-9+/]{43}=")

WEBHOOK = all_of(record(_WEBHOOK), _TIES)
CREATED = all_of(record(_WEBHOOK | {"secret": _SECRET}), _TIES)
ROTATED = all_of(record(_WEBHOOK | {"secret": _SECRET, "previous_secret_until": time}), _TIES)

_DELIVERY: dict[str, Shape] = {
    "id": identifier("whd"),
    "webhook_id": identifier("wh"),
    "event_id": text(pattern=r"evt_[A-Za-z0-9]{1,64}"),
    "event_type": word(*TYPES),
    "status": word("pending", "succeeded", "failed"),
    "attempt_count": integer(),
    "last_attempt_at": null_or(time),
    "response_status": null_or(integer(100, 999)),
    "error": null_or(text(1, 1024)),
    "next_attempt_at": null_or(time),
    "ended_at": null_or(time),
    "created_at": time,
}
_STATES = all_of(
    agrees(
        "only a pending delivery has a next attempt",
        lambda it: (it["next_attempt_at"] is not None) == (it["status"] == "pending"),
    ),
    agrees(
        "only a delivery that ended has an end",
        lambda it: (it["ended_at"] is not None) == (it["status"] != "pending"),
    ),
)
_ATTEMPT = record(
    {
        "number": integer(1),
        "started_at": time,
        "latency_ms": integer(),
        "response_status": null_or(integer(100, 999)),
        "error": null_or(text(1, 1024)),
        "response_body": null_or(text(0, 4096)),
    }
)
DELIVERY = all_of(record(_DELIVERY), _STATES)
WHOLE_DELIVERY = all_of(record(_DELIVERY | {"attempts": array(_ATTEMPT, most=30)}), _STATES)
RECOVERY = record(_RECOVERY_FIELDS | {"status": word("processing")})
TEST_EVENT = record({"id": identifier("evt"), "type": word(*TYPES), "created_at": time, "data": json_object})
