"""Webhooks over HTTP. Every route has two paths; the one with `webhook-endpoints` is the older."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.routes import Routes
from lapel.slices.webhooks.wire import (
    CreatedWebhook,
    CreateWebhook,
    RotatedWebhook,
    UpdateWebhook,
    Webhook,
    WebhookPage,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.webhooks.service import Webhooks

_READ = Access("webhooks:read")
_WRITE = Access("webhooks:write")
_OLDER = "An older path of the same operation under `/v1/webhooks`."


def operations(service: Webhooks) -> tuple[Operation, ...]:
    """All routes of webhooks, each under both of its paths."""
    return (
        *_webhooks(service, "/v1/webhooks", "webhook"),
        *_webhooks(service, "/v1/webhook-endpoints", "webhook_endpoint", _OLDER),
    )


def _webhooks(service: Webhooks, every: str, noun: str, older: str = "") -> tuple[Operation, ...]:
    """`noun`: how the names of the operations call a webhook. `older`: what all descriptions say first."""
    webhooks = Routes("Webhooks", read=_READ, write=_WRITE)
    one = f"{every}/{{webhook_id}}"

    def told(description: str = "") -> str:
        return " ".join(filter(None, (older, description)))

    return (
        webhooks.post(every, f"create_{noun}", CreatedWebhook, CreateWebhook).stored(
            "Register a webhook",
            lambda call: service.create(call.connection, call.actor, call.body),
            told(
                "Only this answer shows the secret with which deliveries are signed. A project has at most "
                "1,000 webhooks in each world."
            ),
            status=201,
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
        ),
        webhooks.get(every, f"list_{noun}s", WebhookPage, PageQuery).plain(
            "List webhooks, newest first", lambda call: service.list(call.actor, call.query), told()
        ),
        webhooks.get(one, f"get_{noun}", Webhook).plain(
            "Read a webhook", lambda call: service.read(call.actor, call.id), told()
        ),
        webhooks.patch(one, f"update_{noun}", Webhook, UpdateWebhook).plain(
            "Change a webhook",
            lambda call: service.update(call.actor, call.id, call.body),
            told(
                "Absent fields stay. `status` `disabled` ends its pending deliveries as `failed`; `enabled` "
                "starts it again, and its earlier failures do not count any more."
            ),
        ),
        webhooks.delete(one, f"delete_{noun}").plain(
            "Delete a webhook",
            lambda call: service.delete(call.actor, call.id),
            told("Its deliveries are deleted too. After this answer no attempt to deliver begins."),
        ),
        webhooks.post(f"{one}/rotate-secret", f"rotate_{noun}_secret", RotatedWebhook).stored(
            "Replace a webhook's secret",
            lambda call: service.rotate(call.connection, call.actor, call.id),
            told(
                "Only this answer shows the new secret. The previous secret stays valid for 24 hours; a "
                "secret before it ends at once."
            ),
            replay=lambda call, stored: service.replayed(call.actor, stored),
        ),
    )
