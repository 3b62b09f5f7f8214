"""Commands over HTTP, Wi-Fi grants, and the keys that verify both.

A key scoped to one end user sees the commands of that end user's devices, and changes none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.access import OWN_DEVICE, PUBLIC, Access
from lapel.foundation.http.routes import Routes, known, made
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
            "Tell a device to do something",
            lambda call: made(service.create(call.connection, call.actor, call.id, call.body)),
            "The device hears of it with each heartbeat or poll until it reports or the command expires. "
            "The same `idempotency_key` in the body answers 200 with the command that it made. A device "
            "that is not bound is refused, and so is one with 100 commands still to do.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: service.replayed(call.actor, stored),
        ),
        commands.get(_ALL, "list_commands", CommandPage, CommandQuery).plain(
            "List a device's commands, newest first",
            lambda call: service.list(call.actor, call.id, call.query),
        ),
        commands.get(f"{_ALL}/pending", "list_pending_commands", PendingCommands, access=OWN_DEVICE).plain(
            "Fetch what the calling device has still to do",
            lambda call: service.hand_over(call.actor, call.id),
            "`device_id` is the device's own, or `me`. All of it, oldest first; what was `pending` is "
            "now `delivered`, and listed again until it is acknowledged or expires. HEAD delivers none.",
            head=lambda call: service.peek(call.actor, call.id),
        ),
        commands.get(_ONE, "get_command", Command).plain(
            "Read a command", lambda call: service.read(call.actor, call.id, call.params["command_id"])
        ),
        commands.delete(_ONE, "cancel_command", Command).plain(
            "Cancel a command that the device has not heard of",
            lambda call: service.cancel(call.actor, call.id, call.params["command_id"]),
            "Only from `pending`; 409 says what it is instead.",
            errors=(Conflict,),
            natural=True,
        ),
        commands.post(f"{_ONE}/ack", "acknowledge_command", Command, Report, access=OWN_DEVICE).plain(
            "Report what became of a command",
            lambda call: service.report(call.actor, call.id, call.params["command_id"], call.body),
            "`device_id` is the calling device's own, or `me`. The same report again is answered as the "
            "first was; another one is 409, and so is one after the command expired or was cancelled.",
            errors=(Conflict,),
            natural=True,
        ),
        commands.post(f"{_DEVICE}/wifi-config/grant", "create_wifi_grant", WifiGrant, AskWifiGrant).plain(
            "Allow a device's Wi-Fi to be changed",
            lambda call: service.wifi_grant(call.actor, call.id, call.body),
            "A signed token that an app hands to the device beside the network's name and password, "
            "which never reach this server. Nothing is stored.",
        ),
        commands.get("/v1/keys/jwks.json", "get_signing_keys", KeySet, access=PUBLIC).plain(
            "The public keys of grants",
            lambda _: known(service.keys()),
            "A JSON Web Key Set: it verifies every `grant_token` and `grant_blob`, also offline.",
        ),
    )
