"""The erasure ledger and the list of legal holds over HTTP.

The routes that place and release a hold are those of its resource (recordings, end users).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.erasure.wire import ErasurePage, ErasureQuery, HoldPage, HoldQuery

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.erasure.service import Erasures, Holds

_AUDIT = Access("audit:read")


def operations(service: Erasures, holds: Holds) -> tuple[Operation, ...]:
    """Every route of the ledger, and the list of holds."""
    ledger = Routes("Administration", read=_AUDIT, write=_AUDIT)
    return (
        ledger.get("/v1/erasures", "list_erasures", ErasurePage, ErasureQuery).plain(
            "List the erasure ledger",
            lambda call: service.list(call.actor, call.query),
            "One entry for each deleted recording and end user, and for each audio that retention erased, "
            "with the state of its objects in the store. Newest first.",
        ),
        ledger.get("/v1/holds", "list_holds", HoldPage, HoldQuery).plain(
            "List legal holds",
            lambda call: holds.list(call.actor, call.query),
            "Holds on recordings and on end users, in force and released. Newest first.",
        ),
    )
