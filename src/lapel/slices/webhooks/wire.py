"""The contract's structs of webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import ClientObject, Timestamp

# The event types of the contract. A client may subscribe to a type before Lapel publishes it.
EVENT_TYPES = (
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
ALL_EVENTS = "*"
_EVENTS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"items": {"const": ALL_EVENTS}, "minItems": 1, "maxItems": 1},
        {"items": {"enum": list(EVENT_TYPES)}, "minItems": 1, "uniqueItems": True},
    ]
}

Status: TypeAlias = Literal["enabled", "disabled"]
DisabledReason: TypeAlias = Literal["request", "gone", "failing"]
Events: TypeAlias = Annotated[
    list[str],
    msgspec.Meta(
        min_length=1,
        max_length=100,
        description="Event types, or `*` alone for all events, also those of types that are new later.",
        examples=[["recording.uploaded", "transcription.completed"]],
        extra_json_schema=_EVENTS_SCHEMA,
    ),
]
Url: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=2048,
        description="An https URL without user name and password.",
        examples=["https://example.com/lapel"],
    ),
]
Description: TypeAlias = Annotated[str, msgspec.Meta(max_length=500, examples=["orders"])]
Object: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
Secret: TypeAlias = Annotated[
    str, msgspec.Meta(description="The secret that signs the deliveries.", examples=["whsec_…"])
]


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A URL to which events are delivered.

    `disabled_reason`: `request` (by PATCH), `gone` (the receiver answered 410), `failing` (no delivery
    succeeded for five days).
    """

    id: str
    project_id: str
    url: str
    events: list[str]
    description: str | None
    metadata: Object
    status: Status
    disabled_reason: DisabledReason | None
    created_at: Timestamp
    updated_at: Timestamp


class WebhookEvent(Webhook, frozen=True, kw_only=True):
    """`data` of `webhook.disabled`."""

    webhook: Webhook


class CreatedWebhook(Webhook, frozen=True, kw_only=True):
    """A new webhook and its secret. Only this answer shows the secret."""

    secret: Secret


class RotatedWebhook(CreatedWebhook, frozen=True, kw_only=True):
    """A webhook and its new secret. Until `previous_secret_until` the previous secret is valid too."""

    previous_secret_until: Timestamp


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of webhooks, newest first."""

    data: list[Webhook]
    has_more: bool
    next_cursor: str | None


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook to create."""

    url: Url
    events: Events
    description: Description | None = None
    metadata: ClientObject | None = None


class UpdateWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """Absent fields stay, null clears, `metadata` and `events` are replaced as a whole."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: Events | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    metadata: ClientObject | msgspec.UnsetType | None = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET
