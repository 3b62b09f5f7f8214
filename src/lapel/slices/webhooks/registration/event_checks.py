"""Event types: what a webhook may name, and the scopes that a key needs for their events.

An event shows its resource. So a key that reads the event, or lets a webhook have it, needs the scope of the
resource too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden, InvalidRequest
from lapel.slices.webhooks.wire import ALL_EVENTS, EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lapel.foundation.core.actors import Actor

# By the first part of the type.
SCOPE_OF_RESOURCE = {
    "config": "config:read",
    "device": "devices:read",
    "ota": "devices:read",
    "recording": "recordings:read",
    "summary": "summaries:read",
    "transcription": "transcriptions:read",
    "webhook": "webhooks:read",
}

# The most characters of an unknown event type that an answer shows.
_SHOWN = 64


def scope_of(type_: str) -> str:
    """The scope with which a key may read events of a type."""
    return SCOPE_OF_RESOURCE[type_.partition(".")[0]]


def hidden_from(actor: Actor) -> list[str]:
    """The event types that the caller's key may not read."""
    return [each for each in EVENT_TYPES if scope_of(each) not in actor.scopes]


def check_may_send(actor: Actor, types: Iterable[str]) -> None:
    """Raises Forbidden when the caller's key may not read events of these types; `*` stands for all types."""
    wanted = {name for each in types for name in (EVENT_TYPES if each == ALL_EVENTS else (each,))}
    lacking = {scope_of(name) for name in wanted} - actor.scopes
    if lacking:
        missing = ", ".join(f"`{scope}`" for scope in sorted(lacking))
        raise Forbidden(f"To let a webhook have events of these types, this key needs {missing} too.")


def check_events(events: Sequence[str]) -> None:
    """Raises InvalidRequest for a list that is neither `*` alone nor distinct event types."""
    if list(events) == [ALL_EVENTS]:
        return
    unknown = [each for each in events if each not in EVENT_TYPES]
    if ALL_EVENTS in unknown:
        raise InvalidRequest("`*` means all events, so it must be alone in `events`.", param="events")
    if unknown:
        known = ", ".join(EVENT_TYPES)
        raise InvalidRequest(
            f"`{unknown[0][:_SHOWN]}` is no event type. Name each type, or use `*` for all events; a "
            f"webhook takes no pattern such as `recording.*`. The event types are: {known}.",
            param="events",
        )
    if len(set(events)) < len(events):
        raise InvalidRequest("`events` must not have the same event type twice.", param="events")
