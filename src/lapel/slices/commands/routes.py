"""Commands and Wi-Fi grants over HTTP, and the public keys that verify the tokens of both.

An API key that is scoped to one end user sees the commands of that end user's devices, but changes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import PUBLIC, Access
from lapel.foundation.http.routes import Routes, created, ready
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
from lapel.slices.devices.service import OWN_DEVICE

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.commands.service import Commands

_READ = Access("devices:read", end_user_keys="filter")
_WRITE = Access("devices:write")
_DEVICE = "/v1/devices/{device_id}"
_ALL = f"{_DEVICE}/commands"
_ONE = f"{_ALL}/{{command_id}}"


def operations(service: Commands) -> tuple[Operation, ...]:
    """All routes of commands and grants."""
    commands = Routes("Commands", read=_READ, write=_WRITE)
    return (
        commands.post(_ALL, "create_command", Command, CreateCommand).stored(
            "Send a command to a device",
            lambda call: created(service.create(call.connection, call.actor, call.id, call.body)),
            "The answer to each heartbeat or poll has the command, until the device reports its result or "
            "it expires. A repeat with the same `idempotency_key`, `type` and `params` in the body is 200 "
            "with the command of the first request. 409 if the device is not bound, or has 100 open "
            "commands.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
            audit="command.created",
        ),
        commands.get(_ALL, "list_commands", CommandPage, CommandQuery).plain(
            "List a device's commands, newest first",
            lambda call: service.list(call.actor, call.id, call.query),
        ),
        commands.get(f"{_ALL}/pending", "list_pending_commands", PendingCommands, access=OWN_DEVICE).plain(
            "Fetch the open commands of the calling device",
            lambda call: service.hand_over(call.actor, call.id),
            "`device_id` is the calling device's own, or `me`. Lists all open commands, oldest first, and "
            "marks `pending` commands as `delivered`. A command is listed again until the device reports "
            "its result or it expires. HEAD marks none.",
            head=lambda call: service.peek(call.actor, call.id),
        ),
        commands.get(_ONE, "get_command", Command).plain(
            "Read a command", lambda call: service.read(call.actor, call.id, call.params["command_id"])
        ),
        commands.delete(_ONE, "cancel_command", Command).plain(
            "Cancel a command that is not delivered yet",
            lambda call: service.cancel(call.actor, call.id, call.params["command_id"]),
            "Only a `pending` command can be cancelled. For any other command the answer is 409, with the "
            "command's status.",
            errors=(Conflict,),
            natural=True,
            audit="command.cancelled",
        ),
        commands.post(f"{_ONE}/ack", "acknowledge_command", Command, Report, access=OWN_DEVICE).plain(
            "Report the result of a command",
            lambda call: service.report(call.actor, call.id, call.params["command_id"], call.body),
            "`device_id` is the calling device's own, or `me`. A repeated report gets the first answer. The "
            "answer is 409 if another result is already reported, or if the command expired or was "
            "cancelled.",
            errors=(Conflict,),
            natural=True,
            audit="command.reported",
        ),
        commands.post(f"{_DEVICE}/wifi-config/grant", "create_wifi_grant", WifiGrant, AskWifiGrant).plain(
            "Issue a grant to change a device's Wi-Fi",
            lambda call: service.wifi_grant(call.actor, call.id, call.body),
            "The grant is a signed token. An app passes it to the device with the network's name and "
            "password, which this server never sees. The server stores nothing.",
            unaudited="It signs a grant, and writes nothing.",
        ),
        commands.get("/v1/keys/jwks.json", "get_signing_keys", KeySet, access=PUBLIC).plain(
            "List the public keys of grants",
            lambda _: ready(service.keys()),
            "A JSON Web Key Set. Its keys verify every `grant_token` and `grant_blob`, also offline.",
        ),
    )
