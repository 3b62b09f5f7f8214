"""The contract's structs of webhooks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import ClientObject, Moment, Timestamp
from lapel.foundation.http.input.pagination import PageQuery

# The event types of the contract, and after them Lapel's own. A client may subscribe to a type before Lapel
# publishes it.
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
    "config.updated",
)
ALL_EVENTS = "*"
_EVENTS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"items": {"const": ALL_EVENTS}, "minItems": 1, "maxItems": 1},
        {"items": {"enum": list(EVENT_TYPES)}, "minItems": 1, "uniqueItems": True},
    ]
}

Status: TypeAlias = Literal["enabled", "disabled"]
DeliveryStatus: TypeAlias = Literal["pending", "succeeded", "failed"]
DisabledReason: TypeAlias = Literal["request", "gone", "failing"]
DeliveryFailure: TypeAlias = Literal["too_many_pending"]
RecoveryState: TypeAlias = Literal["processing", "completed", "stopped"]
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
        description="An https URL without user name, password and fragment. http is allowed only to "
        "networks that the operator names. A world has one webhook for each URL.",
        examples=["https://example.com/lapel"],
    ),
]
Description: TypeAlias = Annotated[str, msgspec.Meta(max_length=500, examples=["orders"])]
Object: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
Secret: TypeAlias = Annotated[
    str, msgspec.Meta(description="The secret that signs the deliveries.", examples=["whsec_…"])
]


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery of the events of a range of time. `until` is the time of the request if it was left out.

    `status`: `processing` while a job carries it out; `completed`; `stopped` if the webhook was disabled
    meanwhile, or had as many pending deliveries as it may have. `queued`: the deliveries that the recovery
    made, or made pending again, so far; `brought_forward`: the pending ones that it made due at once.
    `ended_at` is null while it is `processing`.
    """

    webhook_id: str
    since: Timestamp
    until: Timestamp
    status: RecoveryState
    queued: int
    brought_forward: int
    ended_at: Timestamp | None


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A URL to which events are delivered.

    `disabled_reason`: `request` (by PATCH, or by the revocation of the key that made the webhook), `gone`
    (the receiver answered 410), `failing` (no attempt succeeded for five days). `verified_at`: when the
    receiver first answered an event with 2xx. Until then, and after a change of `url`, it is null, and the
    webhook gets one attempt at a time; the other events wait. `recovery`: the newest recovery.
    """

    id: str
    project_id: str
    url: str
    events: list[str]
    description: str | None
    metadata: Object
    status: Status
    disabled_reason: DisabledReason | None
    verified_at: Timestamp | None
    recovery: Recovery | None
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
    """Absent fields stay, null clears `description` and `metadata`, and `metadata` and `events` are replaced
    as a whole."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    events: Events | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    metadata: ClientObject | msgspec.UnsetType | None = msgspec.UNSET
    status: Status | msgspec.UnsetType = msgspec.UNSET


class ShownAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the webhook's URL.

    `latency_ms`: from the beginning of the attempt to the status line of the answer, or to the fault.
    `response_status` is null if there was no answer; `error` then says why. `response_body`: the first 4 KiB
    of the answer, as text; null if it had none, or if the caller's key may not read the event.
    """

    number: int
    started_at: Timestamp
    latency_ms: int
    response_status: int | None
    error: str | None
    response_body: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook.

    `status`: `pending` (attempts follow), `succeeded` (an attempt was answered 2xx), `failed` (no attempt
    follows). `attempt_count` counts all attempts, also those before a redelivery. `response_status` and
    `error` are those of the newest attempt; `error` also says why a delivery failed without an attempt.
    `next_attempt_at` is null unless the delivery is pending;
    `ended_at` is null while it is.
    """

    id: str
    webhook_id: str
    event_id: str
    event_type: str
    status: DeliveryStatus
    attempt_count: int
    last_attempt_at: Timestamp | None
    response_status: int | None
    error: str | None
    next_attempt_at: Timestamp | None
    ended_at: Timestamp | None
    created_at: Timestamp


class WholeDelivery(Delivery, frozen=True, kw_only=True):
    """A delivery with its attempts, newest first, 30 at most."""

    attempts: list[ShownAttempt]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of deliveries, newest first."""

    data: list[Delivery]
    has_more: bool
    next_cursor: str | None


class DeliveryQuery(PageQuery, frozen=True, kw_only=True):
    """The filters of the list of deliveries."""

    status: Annotated[DeliveryStatus, msgspec.Meta(description="Only deliveries in this state.")] | None = (
        None
    )
    event_id: (
        Annotated[
            str,
            msgspec.Meta(
                description="Only the delivery of the event with this id: 0 or 1 deliveries.",
                examples=["evt_0VvPq3xYz8KmW2nLc5RtB7dF"],
            ),
        ]
        | None
    ) = None


class Recover(msgspec.Struct, frozen=True, kw_only=True):
    """The range of time: from `since` (inclusive) to `until` (exclusive; default: now)."""

    since: Annotated[Moment, msgspec.Meta(examples=["2026-01-15T12:00:00.000Z"])]
    until: Moment | None = None


class SendTest(msgspec.Struct, frozen=True, kw_only=True):
    """The type of a test event."""

    type: Annotated[
        str,
        msgspec.Meta(
            max_length=100,
            examples=["recording.uploaded"],
            extra_json_schema={"enum": list(EVENT_TYPES)},
        ),
    ]


class SentTest(msgspec.Struct, frozen=True, kw_only=True):
    """A test event, as the webhook receives it."""

    id: str
    type: str
    created_at: Timestamp
    data: Object
