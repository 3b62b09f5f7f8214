"""End users over HTTP.

A key scoped to one end user sees that one and changes nothing. Otherwise it could choose an `external_id`
that the project's own look-ups find, and issue a token that reads more than the key may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, Forbidden, NotFound, ResourceAlreadyExists
from lapel.foundation.core.scopes import END_USER_READS
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params
from lapel.slices.end_users.wire import (
    CreateEndUser,
    EndUser,
    EndUserPage,
    EndUserQuery,
    EndUserToken,
    IssueToken,
    UpdateEndUser,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.slices.end_users.service import EndUsers

_READERS: frozenset[ActorKind] = frozenset({"key", "end_user"})


class _Routes:
    def __init__(self, service: EndUsers) -> None:
        self._service = service

    async def create(
        self, connection: Connection, actor: Actor, _params: Params, _query: NoQuery, body: CreateEndUser
    ) -> EndUser:
        return await self._service.create(connection, actor, body)

    async def list(self, actor: Actor, _params: Params, query: EndUserQuery, _body: NoBody) -> EndUserPage:
        return await self._service.list(actor, query)

    async def read(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> EndUser:
        return await self._service.read(actor, params["end_user_id"])

    async def update(self, actor: Actor, params: Params, _query: NoQuery, body: UpdateEndUser) -> EndUser:
        return await self._service.update(actor, params["end_user_id"], body)

    async def delete(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._service.delete(actor, params["end_user_id"])

    async def issue_token(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: IssueToken
    ) -> EndUserToken:
        return await self._service.issue_token(connection, actor, params["end_user_id"], body)

    async def issued_again(self, actor: Actor, _params: Params, stored: EndUserToken) -> EndUserToken:
        return await self._service.issued_again(actor, stored)

    async def revoke_token(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._service.revoke_token(actor, params["end_user_id"])


def operations(service: EndUsers) -> tuple[Operation, ...]:
    """All routes of end users."""
    routes = _Routes(service)
    return (
        Operation(
            method="POST",
            path="/v1/end-users",
            name="create_end_user",
            summary="Add an end user",
            tag="End users",
            handler=routes.create,
            scope="end_users:write",
            body=CreateEndUser,
            response=EndUser,
            status=201,
            errors=(ResourceAlreadyExists, Conflict),
            idempotency="stored",
        ),
        Operation(
            method="GET",
            path="/v1/end-users",
            name="list_end_users",
            summary="List end users, newest first",
            tag="End users",
            handler=routes.list,
            scope="end_users:read",
            callers=_READERS,
            end_user_keys="filter",
            query=EndUserQuery,
            response=EndUserPage,
        ),
        Operation(
            method="GET",
            path="/v1/end-users/{end_user_id}",
            name="get_end_user",
            summary="Read an end user",
            tag="End users",
            handler=routes.read,
            scope="end_users:read",
            callers=_READERS,
            end_user_keys="filter",
            response=EndUser,
            errors=(NotFound,),
        ),
        Operation(
            method="PATCH",
            path="/v1/end-users/{end_user_id}",
            name="update_end_user",
            summary="Change an end user",
            description="What is absent stays, null clears, `metadata` is replaced as a whole.",
            tag="End users",
            handler=routes.update,
            scope="end_users:write",
            body=UpdateEndUser,
            response=EndUser,
            errors=(NotFound, ResourceAlreadyExists, Conflict),
            idempotency="natural",
        ),
        Operation(
            method="DELETE",
            path="/v1/end-users/{end_user_id}",
            name="delete_end_user",
            summary="Delete an end user and everything of theirs",
            description=(
                "From the answer on the end user and their recordings are gone from every answer, their "
                "devices are unbound, their tokens and keys are revoked. Stored objects are erased by a "
                "job; the erasure ledger tells when the last one is gone."
            ),
            tag="End users",
            handler=routes.delete,
            scope="end_users:write",
            answer="empty",
            status=204,
            errors=(NotFound,),
        ),
        Operation(
            method="POST",
            path="/v1/end-users/{end_user_id}/token",
            name="issue_end_user_token",
            summary="Give an end user a token for their own data",
            description=(
                "The token is shown this once; the one issued before stops working. It works as long as the "
                "key that issues it, or until `expires_at`, which may not be later."
            ),
            tag="End users",
            handler=routes.issue_token,
            replay=routes.issued_again,
            scope="end_users:write",
            more_scopes=END_USER_READS,
            body=IssueToken,
            response=EndUserToken,
            status=201,
            errors=(NotFound, Forbidden),
            idempotency="stored",
        ),
        Operation(
            method="DELETE",
            path="/v1/end-users/{end_user_id}/token",
            name="revoke_end_user_token",
            summary="Revoke an end user's token",
            tag="End users",
            handler=routes.revoke_token,
            scope="end_users:write",
            answer="empty",
            status=204,
            errors=(NotFound,),
        ),
    )
