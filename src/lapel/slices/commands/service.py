"""The rules of commands: a command takes effect at most once, and it expires by the clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import EPOCH, timestamp
from lapel.foundation.core.errors import Conflict, Forbidden, IdempotencyKeyReused, NotFound, Unauthorized
from lapel.foundation.database import audit
from lapel.foundation.http.input.pagination import PageQuery, page, window
from lapel.slices.commands import queries, state_queries
from lapel.slices.commands.json_text import object_text, params_text
from lapel.slices.commands.queries import COMMANDED_TO_RECORD, WAITING
from lapel.slices.commands.state_queries import DELIVERED_COMMANDS
from lapel.slices.commands.views import past_of, status_of, stored_of
from lapel.slices.commands.wire import (
    Command,
    CommandPage,
    GrantClaims,
    Params,
    PastCommand,
    PendingCommands,
    StoredCommand,
    WifiGrant,
)
from lapel.slices.devices.service import find_device, lock_device, unknown_device

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lapel.foundation.core.actors import Actor, Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.signing import KeySet
    from lapel.foundation.ports import Ports
    from lapel.slices.commands.rows import AddressedRow, CommandRow, ReportedRow
    from lapel.slices.commands.wire import (
        AskWifiGrant,
        CommandQuery,
        CreateCommand,
        Report,
        ReportedResult,
    )
    from lapel.slices.devices.service import DeviceBindings

__all__ = [
    "COMMANDED_TO_RECORD",
    "DELIVERED_COMMANDS",
    "WAITING",
    "Command",
    "Commands",
    "cancel_open",
    "erase_commands_of_devices",
    "erase_some_commands",
]

# The answer to a heartbeat has all open commands, so this number limits the size of the answer.
MAX_OPEN = 100

_TTL = timedelta(seconds=300)
# The expiry in the token of a command that never expires: the last second in 32 bits, in 2106.
_NEVER = 2**32 - 1

_decode_stored = msgspec.json.Decoder(list[StoredCommand]).decode


class Commands:
    """Operations on commands.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, bindings: DeviceBindings) -> None:
        self._ports = ports
        self._bindings = bindings

    async def create(
        self, connection: Connection, actor: Actor, device_id: str, body: CreateCommand
    ) -> tuple[Command, bool]:
        """Create a command for a device. Returns the command, and whether it is new.

        The command is not new when an earlier request with the same `idempotency_key` made it. Raises
        NotFound when there is no such device; IdempotencyKeyReused when the key made another command;
        Conflict when the device is not bound or has `MAX_OPEN` open commands; InvalidRequest when the
        `metadata` is too large or nested too deeply.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        params = params_text(body.params or Params())
        device = await lock_device(connection, world_id, device_id)
        if device is None:
            raise unknown_device()
        if body.idempotency_key is not None:
            before = await queries.find_by_key(
                connection, world_id, device_id, body.idempotency_key, body.type, params
            )
            if before is not None and not before.present:
                # The command belongs to a deleted end user, and the job has not removed the command yet. For
                # the caller, the idempotency key is free.
                await queries.delete_one(connection, world_id, device_id, before.id)
            elif before is not None:
                if not before.same:
                    raise IdempotencyKeyReused(
                        "This `idempotency_key` made another command for this device. Use a new key."
                    )
                return self._command(before, actor, device.serial_number, now), False
        if device.end_user_id is None:
            raise Conflict("This device is not bound, so it cannot fetch commands. Bind it first.")
        if await queries.count_open(connection, world_id, device_id, now) >= MAX_OPEN:
            raise Conflict(
                f"This device has {MAX_OPEN} open commands. Wait until it reports some, or cancel some."
            )
        row = await state_queries.insert(
            connection,
            world_id,
            device_id,
            self._ports.ids.new("cmd"),
            (device.end_user_id, device.binding_generation),
            body.type,
            params,
            body.idempotency_key,
            (now, _end(body, now)),
        )
        await audit.note(
            connection, self._ports.ids, now, actor, "command.created", row.id, device.end_user_id
        )
        return self._command(row, actor, device.serial_number, now), True

    async def replayed(self, actor: Actor, stored: Command) -> Command:
        """The stored answer of `create`, for a repeat. Raises NotFound when the command is deleted."""
        await self.read(actor, stored.device_id, stored.id)
        return stored

    async def read(self, actor: Actor, device_id: str, command_id: str) -> Command:
        """One command. Raises NotFound when the caller reaches no such command."""
        now = self._ports.clock.now()
        async with self._ports.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, device_id, command_id, actor.scoped_to)
        if row is None:
            raise _unknown()
        return self._command(row, actor, row.serial_number, now)

    async def list(self, actor: Actor, device_id: str, query: CommandQuery) -> CommandPage:
        """One page of a device's commands, newest first.

        Raises NotFound when the caller reaches no such device, and InvalidRequest for a bad cursor.
        """
        now, world_id, only = self._ports.clock.now(), actor.world_id, actor.scoped_to
        asked = window(query, f"commands:{device_id}")
        async with self._ports.database.acquire() as connection:
            device = await find_device(connection, world_id, device_id, only)
            rows = await queries.list_page(connection, world_id, device_id, only, asked, query.status, now)
        serial = device.serial_number
        data, has_more, next_cursor = page(rows, asked, lambda row: self._command(row, actor, serial, now))
        return CommandPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def of_end_user(self, actor: Actor, end_user_id: str) -> AsyncGenerator[list[PastCommand]]:
        """All commands of an end user's bindings, device by device, newest first, a page at a time."""
        now, world_id, device_id = self._ports.clock.now(), actor.world_id, ""
        while True:
            async with self._ports.database.acquire() as connection:
                found = await queries.next_device(connection, world_id, end_user_id, device_id)
            if found is None:
                return
            device_id, query = found, PageQuery(limit=100)
            while True:
                asked = window(query, f"commands:{device_id}")
                async with self._ports.database.acquire() as connection:
                    rows = await queries.list_page(
                        connection, world_id, device_id, end_user_id, asked, None, now
                    )
                data, _, cursor = page(
                    rows, asked, lambda row: past_of(stored_of(row), now, actor.project_id)
                )
                yield data
                if cursor is None:
                    break
                query = PageQuery(limit=100, cursor=cursor)

    async def cancel(self, actor: Actor, device_id: str, command_id: str) -> Command:
        """Cancel a command that is not delivered.

        Raises NotFound when there is no such command, and Conflict when the command is not `pending`.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            row = await state_queries.cancel(connection, world_id, device_id, command_id, now)
            if row is not None:
                await audit.note(
                    connection, self._ports.ids, now, actor, "command.cancelled", command_id, row.end_user_id
                )
                return self._command(row, actor, row.serial_number, now)
            row = await queries.read(connection, world_id, device_id, command_id, None)
        if row is None:
            raise _unknown()
        raise Conflict(f"Only a `pending` command can be cancelled; this one is `{status_of(row, now)}`.")

    async def peek(self, actor: Actor, device_id: str) -> PendingCommands:
        """The calling device's open commands, without delivering them. Raises Forbidden for another id."""
        _check_own(actor, device_id)
        now = self._ports.clock.now()
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_open(
                connection, actor.world_id, actor.id, actor.binding_generation, now
            )
        return self._pending(rows, actor, now)

    async def hand_over(self, actor: Actor, device_id: str) -> PendingCommands:
        """Deliver the open commands of the calling device.

        Raises Forbidden for another device's id, and Unauthorized when the caller's binding ended meanwhile.
        """
        _check_own(actor, device_id)
        now, world_id, generation = self._ports.clock.now(), actor.world_id, actor.binding_generation
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_open(connection, world_id, actor.id, generation, now)
            if any(row.status == "pending" for row in rows):
                async with connection.transaction():
                    device = await lock_device(connection, world_id, actor.id)
                    if device is None or device.binding_generation != generation:
                        raise _overtaken()
                    await state_queries.deliver(connection, world_id, actor.id, now)
                    rows = await queries.list_open(connection, world_id, actor.id, generation, now)
        return self._pending(rows, actor, now)

    async def report(self, actor: Actor, device_id: str, command_id: str, body: Report) -> Command:
        """Store the result that the calling device reports. A repeat of the report gets the same command.

        Raises Forbidden for another device's id; NotFound when this binding has no such command; Conflict
        when the command has expired or was cancelled, or when the stored report differs; InvalidRequest when
        `result` or `error` is too large or nested too deeply.
        """
        _check_own(actor, device_id)
        now, world_id, generation = self._ports.clock.now(), actor.world_id, actor.binding_generation
        result, error = object_text(body.result, "result"), object_text(body.error, "error")
        reported: ReportedResult = (body.status, result, error)
        async with self._ports.database.transaction() as connection:
            if body.status == "executed" and await queries.is_reset(
                connection, world_id, actor.id, command_id, generation
            ):
                row = await self._reset(connection, actor, command_id, reported, now)
            else:
                row = await state_queries.report(
                    connection, world_id, actor.id, command_id, reported, generation, now
                )
            if row is None:
                before = await queries.read_reported(
                    connection, world_id, actor.id, command_id, reported, generation
                )
                row = _reported_before(before, now)
            else:
                await audit.note(
                    connection, self._ports.ids, now, actor, "command.reported", command_id, row.end_user_id
                )
        return self._command(row, actor, row.serial_number, now)

    async def _reset(
        self,
        connection: Connection,
        actor: Actor,
        command_id: str,
        reported: ReportedResult,
        now: datetime,
    ) -> AddressedRow | None:
        """Report a factory reset, which ends the device's binding. None if the command is not open."""
        world_id, generation = actor.world_id, actor.binding_generation
        # Lock the device's row before its commands' rows, as every end of a binding does.
        await lock_device(connection, world_id, actor.id)
        row = await state_queries.report(
            connection, world_id, actor.id, command_id, reported, generation, now
        )
        if row is not None:
            await self._bindings.unbind_in(connection, world_id, actor.project_id, actor.id, now)
        return row

    async def wifi_grant(self, actor: Actor, device_id: str, body: AskWifiGrant) -> WifiGrant:
        """Sign a grant, which is valid for a limited time, to change a device's Wi-Fi. Stores nothing.

        Raises NotFound when there is no such device.
        """
        issued = int(self._ports.clock.now().timestamp())
        async with self._ports.database.acquire() as connection:
            device = await find_device(connection, actor.world_id, device_id)
        claims = GrantClaims(
            sub=device_id,
            aud=f"device:{device.serial_number}",
            jti=self._ports.ids.new("grant"),
            iat=issued,
            exp=issued + body.expires_in_seconds,
            type="wifi_config",
            params=msgspec.Raw(b"{}"),
            project=actor.project_id,
            world=actor.mode,
            binding_generation=device.binding_generation,
        )
        return WifiGrant(
            grant_blob=self._ports.signer.sign(claims),
            expires_at=timestamp(EPOCH + timedelta(seconds=claims.exp)),
        )

    def keys(self) -> KeySet:
        """The public keys for every grant that can still be valid."""
        return self._ports.signer.key_set

    def present(
        self, stored: StoredCommand, *, now: datetime, project_id: str, mode: Mode, serial_number: str
    ) -> Command:
        """A command in the form of every answer, with a token, whose signature takes about 50 µs."""
        claims = GrantClaims(
            sub=stored.device_id,
            aud=f"device:{serial_number}",
            jti=stored.id,
            iat=int(stored.created_at.timestamp()),
            exp=_NEVER if stored.expires_at is None else int(stored.expires_at.timestamp()),
            type=stored.type,
            params=stored.params,
            project=project_id,
            world=mode,
            binding_generation=stored.binding_generation,
        )
        past = past_of(stored, now, project_id)
        return Command(**msgspec.structs.asdict(past), grant_token=self._ports.signer.sign(claims))

    def present_all(
        self, rows: str, *, now: datetime, project_id: str, mode: Mode, serial_number: str
    ) -> list[Command]:
        """Apply `present` to each command row of a JSON array that `jsonb_agg(to_jsonb(c))` has written."""
        return [
            self.present(each, now=now, project_id=project_id, mode=mode, serial_number=serial_number)
            for each in _decode_stored(rows)
        ]

    def _pending(self, rows: list[AddressedRow], actor: Actor, now: datetime) -> PendingCommands:
        return PendingCommands(data=[self._command(row, actor, row.serial_number, now) for row in rows])

    def _command(self, row: CommandRow, actor: Actor, serial_number: str, now: datetime) -> Command:
        return self.present(
            stored_of(row), now=now, project_id=actor.project_id, mode=actor.mode, serial_number=serial_number
        )


async def cancel_open(connection: Connection, world_id: int, device_ids: list[str], now: datetime) -> None:
    """Cancel the open commands of devices, in the transaction that ends their bindings."""
    await state_queries.cancel_open(connection, world_id, device_ids, now)


async def erase_some_commands(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` commands of a deleted end user. Returns their number, 0 when none is left."""
    return await queries.delete_of_end_user(connection, world_id, end_user_id, limit)


async def erase_commands_of_devices(
    connection: Connection, world_id: int, device_ids: list[str], _now: datetime
) -> None:
    """Delete the commands of devices, in the transaction that deletes the devices."""
    await queries.delete_of_devices(connection, world_id, device_ids)


def _end(body: CreateCommand, now: datetime) -> datetime | None:
    """The time at which a new command expires. None means never."""
    if body.ttl_seconds is not None:
        return now + timedelta(seconds=body.ttl_seconds)
    return None if body.type == "factory_reset" else now + _TTL


def _reported_before(row: ReportedRow | None, now: datetime) -> ReportedRow:
    """The row of a command whose new report changed nothing, if the stored report is the same.

    Raises NotFound without a row, and Conflict when the report differs or the command has ended.
    """
    if row is None:
        raise _unknown()
    if row.same:
        return row
    match status_of(row, now):
        case "executed" | "failed" as reported:
            raise Conflict(f"This command was reported `{reported}`, with another status, result or error.")
        case ended:
            raise Conflict(f"This command is `{ended}`: the device should not have executed it any more.")


def _check_own(actor: Actor, device_id: str) -> None:
    if device_id not in ("me", actor.id):
        raise Forbidden("A device may see and report only its own commands.")


def _overtaken() -> Unauthorized:
    return Unauthorized("This device token was revoked. Bind the device again.")


def _unknown() -> NotFound:
    return NotFound("This device has no command with this id.")
