"""The rules of heartbeats: store a device's report, answer with its commands and its firmware offer."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import EPOCH, timestamp
from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Forbidden, InvalidRequest, NotFound, Unauthorized
from lapel.foundation.database.pool import ACQUIRE_SECONDS, affected
from lapel.foundation.database.together import Together
from lapel.foundation.database.turns.keyed_turns import KeyedTurns
from lapel.foundation.database.turns.world_shares import WORLD
from lapel.foundation.http.input.fields import json_text, raw
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.devices.service import (
    ONLINE_FOR,
    begin_low_battery,
    begin_offline,
    find_silent,
    unknown_device,
)
from lapel.slices.firmware.service import Offer
from lapel.slices.heartbeats import queries
from lapel.slices.heartbeats.wire import Heartbeat, RecordingState, StoredDiagnostic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    from lapel.foundation.core.disk_guard import DiskGuard
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.commands.service import Commands
    from lapel.slices.devices.service import ConnectionKind, Devices
    from lapel.slices.firmware.service import Firmware, Manifest
    from lapel.slices.heartbeats.wire import Diagnostics, HeartbeatBody

DIAGNOSTICS_KEPT = timedelta(days=90)
MAX_CONTEXT_BYTES = 16 * 1024
MAX_EVENT_BYTES = 4 * 1024
# Of several connections of a device, the first one in this order counts.
_CONNECTIONS: tuple[tuple[str, ConnectionKind], ...] = (("wifi", "wifi"), ("4g", "cellular"), ("ble", "ble"))
_FLAG_WIFI, _FLAG_LTE = 8, 16
_SWEEP = 500
_PRUNE = 1000
_EXPORTED = 250  # events that are read at once: 1 MiB at most
_EVENT_ID = re.compile(r"[0-9A-Fa-f]{16}\Z")

_NOTHING_WAITS = queries.DeliveryRow()

_encode_state = msgspec.json.Encoder().encode
_decode_offer = msgspec.json.Decoder(Offer).decode
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Heartbeats:
    """Stores heartbeats and answers them.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, devices: Devices, commands: Commands, firmware: Firmware) -> None:
        self._ports = ports
        self._devices = devices
        self._commands = commands
        self._firmware = firmware
        # One at a time: two would each commit half of the heartbeats, and wait for each other's commit.
        self._together = Together(ports.database, queries.beats_of_devices, under_way=1)
        # A device's heartbeats are stored in the order in which they arrive, even if one waits for its row.
        self._turns = KeyedTurns(
            ACQUIRE_SECONDS, "Earlier heartbeats of this device are not stored yet. Repeat the request."
        )

    async def of_device(
        self, token_hash: bytes, device_id: str, body: HeartbeatBody
    ) -> tuple[Actor, Heartbeat] | None:
        """Store and answer a heartbeat from the device that has this token.

        None when the token is not current, or when `device_id` names another device. Raises InvalidRequest
        for a malformed event, or when the context or an event is too large.
        """
        now = self._ports.clock.now()
        reported, sent = self._reported(body, _connection(body), now)
        own = None if device_id == "me" else device_id
        row = await self._stored(token_hash, own, reported)
        if row is None:
            return None
        WORLD.set(row.world_id)  # of what the answer needs besides
        actor = Actor(
            kind="device",
            id=row.id,
            world_id=row.world_id,
            project_id=row.project_id,
            mode=row.mode,
            end_user_id=row.end_user_id,
            binding_generation=row.binding_generation,
            token_hash=token_hash,
        )
        return actor, await self._answer(row, body, _accepted(row, sent), now)

    async def of(self, actor: Actor, device_id: str, body: HeartbeatBody) -> Heartbeat:
        """Store and answer a heartbeat from an authenticated caller: a device, or an app with a key.

        Raises Forbidden when a device names another device, and Unauthorized when the device's token was
        revoked or replaced meanwhile. Raises NotFound when a key names no device of its world, and
        InvalidRequest as `of_device`.
        """
        now = self._ports.clock.now()
        if actor.kind == "device":
            if device_id not in ("me", actor.id):
                raise Forbidden("A device may send only its own heartbeats.")
            reported, sent = self._reported(body, _connection(body), now)
            row = await self._stored(actor.token_hash, None, reported)
            if row is None:  # revoked or replaced since it was looked up
                raise Unauthorized("This device token was revoked or replaced.")
        else:
            # An app passes on the reports that it receives from its device over Bluetooth.
            reported, sent = self._reported(body, "ble", now)
            async with self._ports.database.acquire() as connection:
                row = await queries.beat_of_key(connection, actor.world_id, device_id, reported)
            if row is None:
                if device_id == "me":
                    raise NotFound("`me` is for a device's own token. With a key, name the device by its id.")
                raise unknown_device()
        return await self._answer(row, body, _accepted(row, sent), now)

    async def _stored(
        self, token_hash: bytes, device_id: str | None, reported: queries.ReportedState
    ) -> queries.BeatRow | None:
        """Store a heartbeat after the earlier ones of the device; None as in `of_device`."""
        await self._turns.enter(token_hash)
        try:
            if reported.diagnostics is None:
                row = await self._together.ask(queries.DeviceBeat(token_hash, device_id, reported.facts))
                if row is not None:
                    return row
            # Another request may hold the device's row. The shared statement does not wait for it, or other
            # devices would wait too. This one waits, and counts for the share of the device's world. The
            # first use of a fresh token is in this turn too, or later heartbeats would overtake it.
            if WORLD.get() is None and not await self._devices.begin_use(token_hash):
                return None
            async with self._ports.database.acquire() as connection:
                return await queries.beat_of_device(connection, token_hash, device_id, reported)
        finally:
            self._turns.leave(token_hash)

    def _reported(
        self, body: HeartbeatBody, connection: ConnectionKind | None, now: datetime
    ) -> tuple[queries.ReportedState, list[str]]:
        daily = self._ports.settings.diagnostics_bytes_per_day
        return _reported(body, connection, now, self._ports.disk, daily)

    async def _answer(
        self,
        row: queries.BeatRow,
        body: HeartbeatBody,
        accepted: list[str],
        now: datetime,
    ) -> Heartbeat:
        """Deliver what waits, make the answer, and do the rare work, each piece in its own transaction.

        If the process ends before the work is done, the device gets no answer, and the device's next
        heartbeat does the work.
        """
        crash_point("heartbeat:stored")
        delivery = await self._deliver(row, body, now) if row.waiting else _NOTHING_WAITS
        if row.low_battery:
            await self._begin_low_battery(row, now)
        return Heartbeat(
            status="ok",
            commands=[]
            if delivery.commands is None
            else self._commands.present_all(
                delivery.commands,
                now=now,
                project_id=row.project_id,
                mode=row.mode,
                serial_number=row.serial_number,
            ),
            ota=await self._ota(row, delivery.offer, body, now),
            config_revision=row.config_revision,
            accepted_event_ids=accepted,
        )

    async def _deliver(self, row: queries.BeatRow, body: HeartbeatBody, now: datetime) -> queries.DeliveryRow:
        """The commands and the offer that wait for the device.

        A separate statement marks them as delivered. If the process ends before that statement, they wait for
        the device's next heartbeat.
        """
        async with self._ports.database.acquire() as connection:
            delivery = await queries.deliver(connection, row, now, body.device_state, body.pending_recordings)
        crash_point("heartbeat:delivered")
        return delivery

    async def _begin_low_battery(self, row: queries.BeatRow, now: datetime) -> None:
        world_id, device_id = row.world_id, row.id
        async with self._ports.database.transaction() as connection:
            if await begin_low_battery(connection, world_id, device_id, row.binding_generation, now):
                await self._devices.tell(
                    connection, world_id, row.project_id, "device.low_battery", {device_id: now}, now
                )
            crash_point("heartbeat:low-battery")

    async def _ota(
        self, row: queries.BeatRow, offered: str | None, body: HeartbeatBody, now: datetime
    ) -> Manifest | None:
        """Store the result of an update that this heartbeat reports. Returns the offer that is still open."""
        offer = None if offered is None else _decode_offer(offered)
        if offer is not None and offer.version == row.firmware_version:
            await self._firmware.applied(row.world_id, row.id, offer.version)
            offer = None
        if body.ota_result is not None:
            failed = body.ota_result.assignment_id
            message = body.ota_result.error_message or "The device gave no reason."
            await self._firmware.failed(row.world_id, row.id, failed, message)
            if offer is not None and offer.assignment_id == failed:
                offer = None
        if offer is None:
            return None
        try:
            return self._firmware.manifest(offer, now)
        except StoreUnavailable as error:  # the heartbeat is stored; the offer comes with a later one
            _log.warning("heartbeat.no_link", error=str(error))
            return None

    async def sweep(self) -> int:
        """Publish `device.offline` once for each bound device that became silent. Returns their number."""
        now = self._ports.clock.now()
        before, total = now - ONLINE_FOR, 0
        # In the order of slots, devices that still send are between the silent devices. A batch begins where
        # the previous batch ended, so that it does not read them again.
        slot = 0
        while True:
            async with self._ports.database.transaction() as connection:
                rows = await find_silent(connection, slot, _minute(before), before, _SWEEP)
                silent: defaultdict[tuple[int, str], dict[str, datetime]] = defaultdict(dict)
                for row in rows:
                    silent[row.world_id, row.project_id][row.id] = row.last_heartbeat_at
                for (world_id, project_id), since in silent.items():
                    await begin_offline(connection, world_id, list(since))
                    await self._devices.tell(connection, world_id, project_id, "device.offline", since, now)
                crash_point("heartbeat:silent")
            total += len(rows)
            if len(rows) < _SWEEP:
                return total
            slot = rows[-1].heartbeat_slot

    async def diagnostics_of(self, world_id: int, end_user_id: str) -> AsyncGenerator[list[StoredDiagnostic]]:
        """All diagnostics of an end user's bindings, device by device, a page at a time."""
        device_id = ""
        while True:
            async with self._ports.database.acquire() as connection:
                found = await queries.next_device(connection, world_id, end_user_id, device_id)
            if found is None:
                return
            device_id, after = found, ""
            while True:
                async with self._ports.database.acquire() as connection:
                    rows = await queries.of_end_user(
                        connection, world_id, device_id, end_user_id, after, _EXPORTED
                    )
                yield [_stored(row) for row in rows]
                if len(rows) < _EXPORTED:
                    break
                after = rows[-1].event_id

    async def prune_diagnostics(self) -> int:
        """Delete diagnostics older than `DIAGNOSTICS_KEPT`. Returns their number."""
        before, total = self._ports.clock.now() - DIAGNOSTICS_KEPT, 0
        while True:
            async with self._ports.database.transaction() as connection:
                deleted = affected(await queries.prune_diagnostics(connection, before, _PRUNE))
            total += deleted
            if deleted < _PRUNE:
                return total


async def erase_diagnostics_of_devices(
    connection: Connection, world_id: int, device_ids: list[str], _now: datetime
) -> None:
    """Delete the diagnostics of devices, in the transaction that deletes the devices."""
    await queries.delete_of_devices(connection, world_id, device_ids)


async def erase_some_diagnostics(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` diagnostics of a deleted end user. Returns their number, 0 when none is left."""
    return await queries.delete_of_end_user(connection, world_id, end_user_id, limit)


def _stored(row: queries.DiagnosticRow) -> StoredDiagnostic:
    return StoredDiagnostic(
        device_id=row.device_id,
        event_id=row.event_id,
        schema_version=row.schema_version,
        received_at=timestamp(row.received_at),
        body=raw(row.body),
    )


def _minute(moment: datetime) -> int:
    """Whole minutes since 1970."""
    return int(moment.timestamp()) // 60


def _accepted(row: queries.BeatRow, sent: list[str]) -> list[str]:
    """The ids of the sent diagnostic events that are stored now."""
    if not isinstance(row, queries.FullBeatRow) or row.diagnostics_taken:
        return sent
    before = row.stored_before or []
    return [each for each in sent if each.lower() in before]


def _reported(
    body: HeartbeatBody, connection: ConnectionKind | None, now: datetime, disk: DiskGuard | None, daily: int
) -> tuple[queries.ReportedState, list[str]]:
    """The parameters of the statements, and the ids of the diagnostic events in them.

    `connection`: the connection of the heartbeat, if known. `daily`: the bytes of events that a device may
    add in a day; 0: no limit. When the disk is nearly full, the heartbeat is still stored, because it changes
    a row and adds none. Its events are not stored, so the device keeps them. Raises InvalidRequest as
    `of_device`.
    """
    context = body.client_context
    facts = queries.ReportedFacts(
        now=now,
        battery_percent=body.battery_percent,
        storage_used_mb=body.storage_used_mb,
        storage_total_mb=body.storage_total_mb,
        signal_strength_dbm=body.signal_strength_dbm,
        firmware_version=body.firmware_version,
        name=body.device_name,
        recording_state=_state(body),
        device_state=body.device_state,
        client_context=None
        if context is None
        else json_text(context, param="client_context", max_bytes=MAX_CONTEXT_BYTES),
        minute=_minute(now),
        connection=connection,
    )
    diagnostics = body.diagnostics
    events = {} if diagnostics is None else _events(diagnostics)
    if events and disk is not None and disk.low():
        events = {}
    if body.device_state != "recording" and not events:
        return queries.ReportedState(facts, None), []
    version = None if diagnostics is None else diagnostics.schema_version
    day = now.toordinal() - EPOCH.toordinal()
    stored = (version, [each.lower() for each in events], list(events.values()), day, daily)
    return queries.ReportedState(facts, stored), list(events)


def _connection(body: HeartbeatBody) -> ConnectionKind | None:
    """The connection that a device reports; of several, the first of `wifi`, `cellular`, `ble`."""
    if body.connection_type is not None:
        return next((word for told, word in _CONNECTIONS if told in body.connection_type), None)
    flags = body.flags or 0
    return "wifi" if flags & _FLAG_WIFI else "cellular" if flags & _FLAG_LTE else None


def _state(body: HeartbeatBody) -> str | None:
    """The JSON that is merged into `recording_state`."""
    state = RecordingState(
        device_state=body.device_state,
        pending_recordings=body.pending_recordings,
        flags=body.flags,
        connection_type=body.connection_type,
    )
    encoded = _encode_state(state)
    return None if encoded == b"{}" else encoded.decode()


def _events(diagnostics: Diagnostics) -> dict[str, str]:
    """The JSON of each event by its id. Raises InvalidRequest for a bad `event_id` or an oversized event."""
    found: dict[str, str] = {}
    for number, event in enumerate(diagnostics.events):
        param = f"diagnostics.events[{number}]"
        event_id = event.get("event_id")
        if not isinstance(event_id, str) or not _EVENT_ID.match(event_id):
            raise InvalidRequest(
                f"`{param}.event_id` takes 16 hexadecimal digits.", param=f"{param}.event_id"
            )
        found.setdefault(event_id, json_text(event, param=param, max_bytes=MAX_EVENT_BYTES))
    return found
