"""Commands over HTTP, Wi-Fi grants, and the keys that verify both.

A key scoped to one end user sees the commands of that end user's devices, and changes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, Forbidden, NotFound
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
from lapel.foundation.identity.signing import KeySet
from lapel.slices.commands.wire import (
    AskWifiGrant,
    Command,
    CommandPage,
    CommandQuery,
    CreateCommand,
    PendingCommands,
    Report,
    WifiGrant,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.slices.commands.service import Commands

_DEVICE: frozenset[ActorKind] = frozenset({"device"})


class _Routes:
    def __init__(self, service: Commands) -> None:
        self._service = service

    async def create(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: CreateCommand
    ) -> Reply:
        command, is_new = await self._service.create(connection, actor, params["device_id"], body)
        return Reply(command, status=201 if is_new else 200)

    async def replayed(self, actor: Actor, _params: Params, stored: Command) -> Command:
        return await self._service.replayed(actor, stored)

    async def list(self, actor: Actor, params: Params, query: CommandQuery, _body: NoBody) -> CommandPage:
        return await self._service.list(actor, params["device_id"], query)

    async def read(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Command:
        return await self._service.read(actor, params["device_id"], params["command_id"])

    async def cancel(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Command:
        return await self._service.cancel(actor, params["device_id"], params["command_id"])

    async def hand_over(
        self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody
    ) -> PendingCommands:
        return await self._service.hand_over(actor, params["device_id"])

    async def peek(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> PendingCommands:
        return await self._service.peek(actor, params["device_id"])

    async def report(self, actor: Actor, params: Params, _query: NoQuery, body: Report) -> Command:
        return await self._service.report(actor, params["device_id"], params["command_id"], body)

    async def wifi_grant(
        self, actor: Actor, params: Params, _query: NoQuery, body: AskWifiGrant
    ) -> WifiGrant:
        return await self._service.wifi_grant(actor, params["device_id"], body)

    async def keys(self, _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> KeySet:
        return self._service.keys()


def operations(service: Commands) -> tuple[Operation, ...]:
    """All routes of commands and grants."""
    routes = _Routes(service)
    return (
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/commands",
            name="create_command",
            summary="Tell a device to do something",
            description=(
                "The device hears of it with each heartbeat or poll until it reports or the command expires. "
                "The same `idempotency_key` in the body answers 200 with the command that it made. A device "
                "that is not bound is refused, and so is one with 100 commands still to do."
            ),
            tag="Commands",
            handler=routes.create,
            scope="devices:write",
            body=CreateCommand,
            response=Command,
            status=201,
            also=(200,),
            errors=(NotFound, Conflict),
            idempotency="stored",
            replay=routes.replayed,
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}/commands",
            name="list_commands",
            summary="List a device's commands, newest first",
            tag="Commands",
            handler=routes.list,
            scope="devices:read",
            end_user_keys="filter",
            query=CommandQuery,
            response=CommandPage,
            errors=(NotFound,),
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}/commands/pending",
            name="list_pending_commands",
            summary="Fetch what the calling device has still to do",
            description=(
                "`device_id` is the device's own, or `me`. All of it, oldest first; what was `pending` is "
                "now `delivered`, and listed again until it is acknowledged or expires. HEAD delivers none."
            ),
            tag="Commands",
            handler=routes.hand_over,
            head=routes.peek,
            scope=None,
            callers=_DEVICE,
            response=PendingCommands,
            errors=(Forbidden,),
        ),
        Operation(
            method="GET",
            path="/v1/devices/{device_id}/commands/{command_id}",
            name="get_command",
            summary="Read a command",
            tag="Commands",
            handler=routes.read,
            scope="devices:read",
            end_user_keys="filter",
            response=Command,
            errors=(NotFound,),
        ),
        Operation(
            method="DELETE",
            path="/v1/devices/{device_id}/commands/{command_id}",
            name="cancel_command",
            summary="Cancel a command that the device has not heard of",
            description="Only from `pending`; 409 says what it is instead.",
            tag="Commands",
            handler=routes.cancel,
            scope="devices:write",
            response=Command,
            errors=(NotFound, Conflict),
            idempotency="natural",
        ),
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/commands/{command_id}/ack",
            name="acknowledge_command",
            summary="Report what became of a command",
            description=(
                "`device_id` is the calling device's own, or `me`. The same report again is answered as the "
                "first was; another one is 409, and so is one after the command expired or was cancelled."
            ),
            tag="Commands",
            handler=routes.report,
            scope=None,
            callers=_DEVICE,
            body=Report,
            response=Command,
            errors=(Forbidden, NotFound, Conflict),
            idempotency="natural",
        ),
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/wifi-config/grant",
            name="create_wifi_grant",
            summary="Allow a device's Wi-Fi to be changed",
            description=(
                "A signed token that an app hands to the device beside the network's name and password, "
                "which never reach this server. Nothing is stored."
            ),
            tag="Commands",
            handler=routes.wifi_grant,
            scope="devices:write",
            body=AskWifiGrant,
            response=WifiGrant,
            errors=(NotFound,),
        ),
        Operation(
            method="GET",
            path="/v1/keys/jwks.json",
            name="get_signing_keys",
            summary="The public keys of grants",
            description="A JSON Web Key Set: it verifies every `grant_token` and `grant_blob`, also offline.",
            tag="Commands",
            handler=routes.keys,
            scope=None,
            callers=frozenset(),
            response=KeySet,
        ),
    )
