"""The search over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import NotFound
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.end_users.service import READERS
from lapel.slices.search.wire import SearchRecordings, SearchResults

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.search.service import Search

_READ = Access("recordings:read", READERS, "imply")
_ROUTES = Routes("Search", read=_READ, write=_READ)


def operations(service: Search) -> tuple[Operation, ...]:
    """Every route of the search."""
    return (
        _ROUTES.post("/v1/recordings/search", "search_recordings", SearchResults, SearchRecordings).plain(
            "Search in what was said",
            lambda call: service.answer(call.actor, call.body),
            "Passages of the completed transcripts of one end user, best first: by the words of the query, "
            "and by its meaning, also in another language.",
            errors=(NotFound,),
            unaudited="It reads, and writes nothing.",
        ),
    )
