"""The erasure ledger over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.operations import NoBody, Operation
from lapel.slices.erasure.wire import ErasurePage, ErasureQuery

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.operations import Params
    from lapel.slices.erasure.service import Erasures


def operations(service: Erasures) -> tuple[Operation, ...]:
    """Every route of the ledger."""

    async def list_erasures(actor: Actor, _params: Params, query: ErasureQuery, _body: NoBody) -> ErasurePage:
        return await service.list(actor, query)

    return (
        Operation(
            method="GET",
            path="/v1/erasures",
            name="list_erasures",
            summary="List the erasure ledger",
            tag="Administration",
            description="What was deleted, and how far the object store has followed. Newest first.",
            handler=list_erasures,
            scope="audit:read",
            query=ErasureQuery,
            response=ErasurePage,
        ),
    )
