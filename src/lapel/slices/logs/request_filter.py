"""The filters of a stream of requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import InvalidRequest

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.slices.logs.wire import LogStreamQuery, RequestActor, RequestSummary

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_STATUS = re.compile(r"([1-5])(xx|[0-9]{2})\Z", re.IGNORECASE)
_ACTOR = re.compile(r"(key|device|upload|[a-z]+_\w+)\Z", re.ASCII)


class RequestFilter(msgspec.Struct, frozen=True):
    """The requests that match all of its parts; an empty part matches every request.

    A status below 10 stands for its class: 4 for 400 to 499.
    """

    methods: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    path: str = ""
    actor: str = ""

    def matches_but_path(self, method: str, status: int, actor: Actor | RequestActor) -> bool:
        """Whether a request is shown if its path matches too."""
        return (
            (not self.methods or method in self.methods)
            and (not self.statuses or status in self.statuses or status // 100 in self.statuses)
            and (not self.actor or self.actor in (actor.kind, actor.id))
        )

    def matches(self, request: RequestSummary) -> bool:
        """Whether a request is shown."""
        return request.path.startswith(self.path) and self.matches_but_path(
            request.method, request.status, request.actor
        )


def filter_of(query: LogStreamQuery) -> RequestFilter:
    """The filter that a query asks for. Raises InvalidRequest for a value that no request can have."""
    if query.actor is not None and not _ACTOR.match(query.actor):
        raise InvalidRequest(
            "An actor is an id, such as dev_…, or one of key, device, upload and end_user.", param="actor"
        )
    if query.path is not None and not query.path.startswith("/"):
        raise InvalidRequest("A path begins with a slash, such as /v1/recordings.", param="path")
    return RequestFilter(
        methods=frozenset(map(_method, _items(query.method))),
        statuses=frozenset(map(_status, _items(query.status))),
        path=query.path or "",
        actor=query.actor or "",
    )


def _items(text: str | None) -> list[str]:
    return [] if text is None else [each.strip() for each in text.split(",")]


def _method(text: str) -> str:
    if text.upper() not in _METHODS:
        raise InvalidRequest(f"The methods are {', '.join(sorted(_METHODS))}.", param="method")
    return text.upper()


def _status(text: str) -> int:
    found = _STATUS.match(text)
    if found is None:
        raise InvalidRequest(
            "A status is a number from 100 to 599, or a class of statuses from 1xx to 5xx.", param="status"
        )
    return int(found[1] if found[2].lower() == "xx" else found[0])
