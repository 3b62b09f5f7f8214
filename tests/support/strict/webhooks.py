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
)


def _events(value: Any, at: str) -> Iterator[str]:
    """All events, or distinct types."""
    yield from array(word("*", *TYPES), most=100, least=1)(value, at)
    if isinstance(value, list) and len(value) != len({str(each) for each in value}):
        yield f"{at}: a type is repeated"
    if isinstance(value, list) and "*" in value and len(value) > 1:
        yield f"{at}: * is not alone"


_WEBHOOK: dict[str, Shape] = {
    "id": identifier("wh"),
    "project_id": identifier("proj"),
    "url": text(1, 2048, r"https?://[^\s@#]+"),
    "events": _events,
    "description": null_or(text(0, 500)),
    "metadata": metadata,
    "status": word("enabled", "disabled"),
    "disabled_reason": null_or(word("request", "gone", "failing")),
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
