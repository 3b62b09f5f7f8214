"""Deliveries as the API shows them, and their repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.webhooks import queries
from lapel.slices.webhooks.payloads import RECOVER, RecoveryJob
from lapel.slices.webhooks.records import delivery_queries, recovery_queries
from lapel.slices.webhooks.registration.event_checks import check_may_send, scope_of
from lapel.slices.webhooks.service import check_enabled, unknown_webhook
from lapel.slices.webhooks.views import delivery_of, whole_delivery_of
from lapel.slices.webhooks.wire import DeliveryPage, Recovery

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.wire import Delivery, DeliveryQuery, Recover, WholeDelivery


class Deliveries:
    """Operations on deliveries.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def list(self, actor: Actor, webhook_id: str, query: DeliveryQuery) -> DeliveryPage:
        """One page of a webhook's deliveries, newest first.

        Raises NotFound when there is no such webhook, and InvalidRequest for a bad cursor.
        """
        asked, world_id = window(query, f"deliveries:{webhook_id}"), actor.world_id
        async with self._ports.database.acquire() as connection:
            if await queries.read(connection, world_id, webhook_id) is None:
                raise unknown_webhook()
            rows = await delivery_queries.list_page(
                connection, world_id, webhook_id, asked, query.status, query.event_id
            )
        data, has_more, next_cursor = page(rows, asked, delivery_of)
        return DeliveryPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def read(self, actor: Actor, webhook_id: str, delivery_id: str) -> WholeDelivery:
        """One delivery with its newest attempts; without the answers of the receiver, which may repeat the
        event, when the caller's key may not read the event.

        Raises NotFound when the webhook has no such delivery.
        """
        async with self._ports.database.acquire() as connection:
            row = await delivery_queries.read(connection, actor.world_id, delivery_id, webhook_id)
            if row is None:
                raise _unknown_delivery()
            attempts = await delivery_queries.list_attempts(connection, actor.world_id, delivery_id)
        return whole_delivery_of(row, attempts, shows_answers=scope_of(row.event_type) in actor.scopes)

    async def redeliver(
        self, connection: Connection, actor: Actor, delivery_id: str, webhook_id: str | None = None
    ) -> Delivery:
        """Deliver an event to a webhook again, in any state of the delivery.

        `webhook_id`: the webhook that the path names, if it names one.
        Raises NotFound when there is no such delivery, Forbidden when the caller's key may not read events of
        its type, and Conflict when the webhook is disabled.
        """
        world_id = actor.world_id
        row = await delivery_queries.read(connection, world_id, delivery_id, webhook_id)
        if row is None:
            raise _unknown_delivery()
        check_may_send(actor, [row.event_type])
        await check_enabled(connection, world_id, row.webhook_id)
        await recovery_queries.resume(connection, world_id, row.webhook_id)
        await delivery_queries.redeliver(connection, world_id, delivery_id)
        about = await delivery_queries.find_end_user(connection, world_id, delivery_id)
        now, ids = self._ports.clock.now(), self._ports.ids
        await audit.note(connection, ids, now, actor, "webhook_delivery.redelivered", delivery_id, about)
        again = await delivery_queries.read(connection, world_id, delivery_id, webhook_id)
        if again is None:
            raise _unknown_delivery()
        return delivery_of(again)

    async def recover(self, connection: Connection, actor: Actor, webhook_id: str, body: Recover) -> Recovery:
        """Begin to deliver all events of a range of time again that did not reach the webhook.

        Raises NotFound when there is no such webhook, InvalidRequest when `since` is not before `until`,
        Forbidden when the caller's key may not read its events, and Conflict when the webhook is disabled or
        an earlier recovery of it has not ended.
        """
        row = await check_enabled(connection, actor.world_id, webhook_id)
        check_may_send(actor, row.events)
        now = self._ports.clock.now()
        until = body.until or now
        if body.since >= until:
            raise InvalidRequest("`since` must be before `until`.", param="since")
        job = RecoveryJob(actor.world_id, webhook_id, body.since, until)
        if not await enqueue(connection, RECOVER, job, dedupe=webhook_id):
            raise Conflict(
                "A recovery of this webhook has not ended yet. Repeat the request when it has: what arrived "
                "meanwhile is not delivered again."
            )
        await recovery_queries.begin(connection, actor.world_id, webhook_id, body.since, until)
        await recovery_queries.resume(connection, actor.world_id, webhook_id)
        await audit.note(connection, self._ports.ids, now, actor, "webhook.recovered", webhook_id, None)
        return Recovery(
            webhook_id=webhook_id,
            since=timestamp(body.since),
            until=timestamp(until),
            status="processing",
            queued=0,
            brought_forward=0,
            ended_at=None,
        )


def _unknown_delivery() -> NotFound:
    return NotFound("There is no delivery with this id.")
