"""The erasure ledger over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.erasure.wire import ErasurePage, ErasureQuery

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.erasure.service import Erasures

_AUDIT = Access("audit:read")


def operations(service: Erasures) -> tuple[Operation, ...]:
    """Every route of the ledger."""
    ledger = Routes("Administration", read=_AUDIT, write=_AUDIT)
    return (
        ledger.get("/v1/erasures", "list_erasures", ErasurePage, ErasureQuery).plain(
            "List the erasure ledger",
            lambda call: service.list(call.actor, call.query),
            "One entry for each deletion, with the state of its objects in the store. Newest first.",
        ),
    )
