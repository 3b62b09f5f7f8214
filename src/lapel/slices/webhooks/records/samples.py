"""Test events: events of resources that do not exist, made by the code that makes the live ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.database import audit, outbox
from lapel.slices.webhooks.records import recovery_queries
from lapel.slices.webhooks.registration.event_checks import check_may_send
from lapel.slices.webhooks.service import check_enabled
from lapel.slices.webhooks.wire import EVENT_TYPES, SentTest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.outbox import SampleMaker
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.wire import SendTest


class Samples:
    """Sends test events. `makers`: the maker of the samples of each event type."""

    def __init__(self, ports: Ports, makers: Mapping[str, SampleMaker]) -> None:
        self._ports = ports
        self._makers = makers

    async def send(self, connection: Connection, actor: Actor, webhook_id: str, body: SendTest) -> SentTest:
        """Publish a test event that only this webhook gets, even if it has not subscribed to the type.

        Raises NotFound when there is no such webhook, Conflict when the webhook is disabled, InvalidRequest
        for a type that is unknown or not published yet, and Forbidden when the caller's key may not read
        events of this type.
        """
        await check_enabled(connection, actor.world_id, webhook_id)
        make = self._makers.get(body.type)
        if make is None:
            raise self._refused(body.type)
        check_may_send(actor, [body.type])
        await recovery_queries.resume(connection, actor.world_id, webhook_id)
        now, ids = self._ports.clock.now(), self._ports.ids
        sample = make(ids, now, actor.project_id)
        event_id = await outbox.publish(
            connection,
            ids,
            now,
            world_id=actor.world_id,
            type=body.type,
            resource_id=sample.resource_id,
            data=sample.data,
            test_for=webhook_id,
        )
        await audit.note(connection, ids, now, actor, "webhook.tested", webhook_id, None)
        return SentTest(id=event_id, type=body.type, created_at=timestamp(now), data=msgspec.Raw(sample.data))

    def _refused(self, type_: str) -> InvalidRequest:
        what = "is not published yet" if type_ in EVENT_TYPES else "is no event type"
        published = ", ".join(sorted(self._makers))
        return InvalidRequest(f"`{type_}` {what}. Test events have the types: {published}.", param="type")
