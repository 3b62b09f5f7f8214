"""API keys over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, Forbidden, NotFound
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
from lapel.slices.projects.wire import (
    ApiKeyPage,
    CreateApiKey,
    CreatedApiKey,
    RevokeQuery,
    RotateApiKey,
    RotatedApiKey,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.slices.projects.service import Keys


class _Routes:
    def __init__(self, service: Keys) -> None:
        self._service = service

    async def create(
        self, connection: Connection, actor: Actor, _params: Params, _query: NoQuery, body: CreateApiKey
    ) -> CreatedApiKey:
        return await self._service.create(connection, actor, body)

    async def created_again(self, actor: Actor, _params: Params, created: CreatedApiKey) -> CreatedApiKey:
        return await self._service.replayed(actor, created)

    async def list(self, actor: Actor, _params: Params, query: PageQuery, _body: NoBody) -> ApiKeyPage:
        return await self._service.list(actor, query)

    async def revoke(self, actor: Actor, params: Params, query: RevokeQuery, _body: NoBody) -> None:
        await self._service.revoke(actor, params["key_id"], issued=query.issued)

    async def rotate(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: RotateApiKey
    ) -> Reply:
        return await self._service.rotate(connection, actor, params["key_id"], body)

    async def rotated_again(self, actor: Actor, params: Params, created: RotatedApiKey) -> CreatedApiKey:
        return await self._service.replayed(actor, created, of_caller=params["key_id"] == actor.id)


def operations(service: Keys) -> tuple[Operation, ...]:
    """All routes of API keys."""
    routes = _Routes(service)
    return (
        Operation(
            method="POST",
            path="/v1/api-keys",
            name="create_api_key",
            summary="Create a key",
            description=(
                "For the caller's own world (and its own end user, if it is scoped to one), with no scope "
                "and no lifetime beyond the caller's. The key is shown this once."
            ),
            tag="API keys",
            handler=routes.create,
            scope="keys:write",
            end_user_keys="imply",
            body=CreateApiKey,
            response=CreatedApiKey,
            status=201,
            errors=(NotFound, Forbidden),
            idempotency="stored",
            replay=routes.created_again,
        ),
        Operation(
            method="GET",
            path="/v1/api-keys",
            name="list_api_keys",
            summary="List keys, newest first",
            description="Never their secrets: a hint, their scopes, when they were last used and ended.",
            tag="API keys",
            handler=routes.list,
            scope="keys:write",
            end_user_keys="filter",
            query=PageQuery,
            response=ApiKeyPage,
        ),
        Operation(
            method="DELETE",
            path="/v1/api-keys/{key_id}",
            name="revoke_api_key",
            summary="Revoke a key",
            description=(
                "From the answer on it is refused by every process. Revoking it again does nothing. Tokens "
                "that it issued go on working, unless `issued` is true."
            ),
            tag="API keys",
            handler=routes.revoke,
            scope="keys:write",
            end_user_keys="filter",
            query=RevokeQuery,
            answer="empty",
            status=204,
            errors=(NotFound, Forbidden),
        ),
        Operation(
            method="POST",
            path="/v1/api-keys/{key_id}/rotate",
            name="rotate_api_key",
            summary="Put a new key in a key's place",
            description=(
                "Both work for `overlap_seconds` (a day; 0 ends the old one at once). A key whose successor "
                "works is refused: 409 with the successor's id."
            ),
            tag="API keys",
            handler=routes.rotate,
            scope="keys:write",
            end_user_keys="filter",
            body=RotateApiKey,
            response=RotatedApiKey,
            status=201,
            errors=(NotFound, Forbidden, Conflict),
            idempotency="stored",
            replay=routes.rotated_again,
        ),
    )
