"""Events over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.events.wire import (
    Event,
    EventPage,
    EventQuery,
    ResendEvent,
    ResentEvent,
    StreamQuery,
)

if TYPE_CHECKING:
    from lapel.foundation.http.calls import NoQuery, StoredCall
    from lapel.foundation.http.operations import Operation
    from lapel.slices.events.service import Events
    from lapel.slices.webhooks.service import Webhooks


def operations(service: Events, webhooks: Webhooks) -> tuple[Operation, ...]:
    """Every route of events."""
    events = Routes("Events", read=Access("webhooks:read"), write=Access("webhooks:write"))
    return (
        events.get("/v1/events", "list_events", EventPage, EventQuery).plain(
            "List events",
            lambda call: service.list(call.actor, call.query),
            "Newest first, without test events. Each event is shown as webhooks receive it. Events are kept "
            "for 90 days. They are erased earlier if their recording, device or end user is deleted. A key "
            "sees only events of resources that it may read: `transcription.*` needs `transcriptions:read`.",
            sized=lambda call: service.size_of_list(call.actor, call.query),
        ),
        events.get("/v1/events/stream", "stream_events", query=StreamQuery).stream(
            "Follow events",
            lambda call: service.stream(call.actor, call.query, call.last_event_id),
            "Server-sent events, in the order of the world's stream. `data` of each one is an event as "
            "webhooks receive it; `id` is its place in the stream, and has no other meaning. A client that "
            "connects again with the last `id` misses no event and gets none twice. The first message is a "
            "comment with the project and the mode of the world. A quiet stream sends a comment every 15 "
            "seconds. The stream ends when the key is revoked, and when the server stops. "
            "A key sees only events of resources that it may read.",
        ),
        events.get("/v1/events/{event_id}", "get_event", Event).plain(
            "Read an event",
            lambda call: service.read(call.actor, call.id),
            sized=lambda call: service.size(call.actor, call.id),
        ),
        events.post("/v1/events/{event_id}/resend", "resend_event", ResentEvent, ResendEvent).stored(
            "Deliver an event again",
            lambda call: _resend(call, webhooks),
            "To all enabled webhooks that have subscribed to its type now, or to one webhook, whatever it "
            "has subscribed to. It is due at once, in any state of an earlier delivery, with the same bytes. "
            "The answer names the webhooks. 404 also for test events, and in the moment before an event has "
            "its place in the stream; 409 if the one webhook is disabled.",
            status=202,
            errors=(Conflict,),
            audit="event.resent",
        ),
    )


async def _resend(call: StoredCall[NoQuery, ResendEvent], webhooks: Webhooks) -> ResentEvent:
    found = await webhooks.resend(call.connection, call.actor, call.id, call.body.webhook_id)
    return ResentEvent(event_id=call.id, webhook_ids=found)
