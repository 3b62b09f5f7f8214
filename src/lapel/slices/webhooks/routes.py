"""Webhooks over HTTP. Every route has two paths; the one with `webhook-endpoints` is the older."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, ResourceAlreadyExists
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.routes import Routes
from lapel.slices.webhooks.wire import (
    CreatedWebhook,
    CreateWebhook,
    Delivery,
    DeliveryPage,
    DeliveryQuery,
    Recover,
    Recovery,
    RotatedWebhook,
    SendTest,
    SentTest,
    UpdateWebhook,
    Webhook,
    WebhookPage,
    WholeDelivery,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.webhooks.records.deliveries import Deliveries
    from lapel.slices.webhooks.records.samples import Samples
    from lapel.slices.webhooks.service import Webhooks

_READ = Access("webhooks:read")
_WRITE = Access("webhooks:write")
_OLDER = "The older path of the same operation."


@dataclass(frozen=True, slots=True)
class _Path:
    """One of the two paths. `noun`: how the names of the operations call a webhook. `remark`: what their
    descriptions say first."""

    every: str
    noun: str
    remark: str = ""

    @property
    def one(self) -> str:
        return f"{self.every}/{{webhook_id}}"

    def told(self, description: str = "") -> str:
        return " ".join(filter(None, (self.remark, description)))


_PATHS = (_Path("/v1/webhooks", "webhook"), _Path("/v1/webhook-endpoints", "webhook_endpoint", _OLDER))


def operations(service: Webhooks, deliveries: Deliveries, samples: Samples) -> tuple[Operation, ...]:
    """All routes of webhooks, each under both of its paths."""
    return tuple(
        made
        for path in _PATHS
        for made in (
            *_webhooks(service, path),
            *_deliveries(deliveries, path),
            *_repetitions(deliveries, samples, path),
        )
    )


def _webhooks(service: Webhooks, path: _Path) -> tuple[Operation, ...]:
    webhooks = Routes("Webhooks", read=_READ, write=_WRITE)
    every, one, noun, told = path.every, path.one, path.noun, path.told
    return (
        webhooks.post(every, f"create_{noun}", CreatedWebhook, CreateWebhook).stored(
            "Register a webhook",
            lambda call: service.create(call.connection, call.actor, call.body),
            told(
                "Only this answer shows the secret with which deliveries are signed. A key needs the scopes "
                "to read the events too, such as `recordings:read` for `recording.uploaded`, and all of them "
                "for `*`. Until the receiver has answered an event with 2xx (`verified_at`), it gets one "
                "attempt at a time. A world has one webhook for each URL, and 50 webhooks unless the "
                "operator allows more."
            ),
            status=201,
            errors=(Conflict, ResourceAlreadyExists),
            replay=lambda call, stored: service.created_again(call.actor, stored),
            audit="webhook.created",
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
                "Absent fields stay. A disabled webhook gets no events, and its pending deliveries end as "
                "`failed`. `status` `enabled` starts it again. Its earlier failures do not count any more "
                "after that, and after a change of `url`. A change of `url` or `events`, and `enabled`, need "
                "the scopes to read the events."
            ),
            errors=(ResourceAlreadyExists,),
            audit="webhook.updated",
        ),
        webhooks.delete(one, f"delete_{noun}").plain(
            "Delete a webhook",
            lambda call: service.delete(call.actor, call.id),
            told(
                "From this answer on, no answer shows the webhook and no worker takes up a delivery to it. A "
                "delivery that a worker has taken up before may still arrive. A job deletes the deliveries."
            ),
            audit="webhook.deleted",
        ),
        webhooks.post(f"{one}/rotate-secret", f"rotate_{noun}_secret", RotatedWebhook).stored(
            "Replace a webhook's secret",
            lambda call: service.rotate(call.connection, call.actor, call.id),
            told(
                "Only this answer shows the new secret. The previous secret stays valid for 24 hours; a "
                "secret before it ends at once."
            ),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="webhook.secret_rotated",
        ),
    )


def _deliveries(service: Deliveries, path: _Path) -> tuple[Operation, ...]:
    webhooks = Routes("Webhooks", read=_READ, write=_WRITE)
    every, noun, told = f"{path.one}/deliveries", path.noun, path.told
    return (
        webhooks.get(every, f"list_{noun}_deliveries", DeliveryPage, DeliveryQuery).plain(
            "List the deliveries to a webhook, newest first",
            lambda call: service.list(call.actor, call.id, call.query),
            told("A delivery is one event for one webhook, with all attempts to bring it there."),
        ),
        webhooks.get(f"{every}/{{delivery_id}}", f"get_{noun}_delivery", WholeDelivery).plain(
            "Read a delivery with its attempts",
            lambda call: service.read(call.actor, call.id, call.params["delivery_id"]),
            told(
                "It has the newest 30 attempts: of each the time, the duration, the status of the answer or "
                "the reason why there was none, and, for a key that may read the event, the first 4 KiB of "
                "the answer."
            ),
        ),
    )


def _repetitions(deliveries: Deliveries, samples: Samples, path: _Path) -> tuple[Operation, ...]:
    webhooks = Routes("Webhooks", read=_READ, write=_WRITE)
    one, noun, told = path.one, path.noun, path.told
    redelivered = (
        "In any state of the delivery. The next attempt is due at once and sends the same bytes; if it "
        "fails, others follow by the schedule. An attempt that is under way counts as this next attempt. A "
        "key needs the scope to read the event too. 409 if the webhook is disabled."
    )
    delivery = "deliveries/{delivery_id}/redeliver"
    return (
        webhooks.post(f"{one}/{delivery}", f"redeliver_{noun}_delivery", Delivery).stored(
            "Deliver an event to a webhook again",
            lambda call: deliveries.redeliver(
                call.connection, call.actor, call.params["delivery_id"], call.params["webhook_id"]
            ),
            told(redelivered),
            status=202,
            errors=(Conflict,),
            audit="webhook_delivery.redelivered",
        ),
        webhooks.post(f"{path.every}/{delivery}", f"redeliver_to_{noun}", Delivery).stored(
            "Deliver an event to its webhook again",
            lambda call: deliveries.redeliver(call.connection, call.actor, call.id),
            told(f"As the route below the webhook. {redelivered}"),
            status=202,
            errors=(Conflict,),
            audit="webhook_delivery.redelivered",
        ),
        webhooks.post(f"{one}/recover", f"recover_{noun}", Recovery, Recover).stored(
            "Deliver the events of a range of time that did not arrive",
            lambda call: deliveries.recover(call.connection, call.actor, call.id, call.body),
            told(
                "All events from `since` (inclusive) to `until` (exclusive; default: now) that the webhook "
                "has subscribed to now and that did not reach it: those whose delivery failed, and those "
                "that have no delivery, also from before the webhook was created. A job makes their "
                "deliveries due after this answer, also the pending ones, which get a new schedule. A "
                "delivery that succeeded stays as it is. The field `recovery` of the webhook has the numbers "
                "so far, and says when the job has ended. A key needs the scopes to read the webhook's "
                "events too. Events are kept for 90 days. 409 if the webhook is disabled, or while an "
                "earlier recovery of it has not ended."
            ),
            status=202,
            errors=(Conflict,),
            audit="webhook.recovered",
        ),
        webhooks.post(f"{one}/test", f"test_{noun}", SentTest, SendTest).stored(
            "Send a test event to a webhook",
            lambda call: samples.send(call.connection, call.actor, call.id, call.body),
            told(
                "An event like any other, with an id of its own, about a resource that does not exist. Only "
                "this webhook gets it, even if it has not subscribed to the type; no list and no stream of "
                "events shows it. The answer is the body that the webhook gets. A type that is not published "
                "yet is 400. A key needs the scope to read events of this type too. 409 if the webhook is "
                "disabled."
            ),
            status=202,
            errors=(Conflict,),
            audit="webhook.tested",
        ),
    )
