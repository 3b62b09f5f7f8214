"""All SQL of heartbeats.

A heartbeat runs one statement, which it may share with those of other devices, and a second statement when
something waits for the device. The first statement usually changes no column of an index. So PostgreSQL
writes the row's new version beside the old version, and touches no index (heap-only tuples:
src/backend/access/heap/README.HOT in the source of PostgreSQL). The indexed columns `heartbeat_slot` and
`offline_since` change at most every ten minutes, and when the device was just bound or was offline.
`devices/reports/report_queries.py` has the SET of the device's row.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.row_quota import is_full
from lapel.foundation.database.rows import (
    fetch_found,
    fetch_only_row,
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_value,
)
from lapel.slices.commands.service import COMMANDED_TO_RECORD, DELIVERED_COMMANDS, WAITING
from lapel.slices.configuration.service import REVISION
from lapel.slices.devices.service import (
    LOCKED_BEAT,
    OF_KEY,
    OF_SEVERAL,
    OF_TOKEN,
    SEVERAL,
    STORED,
    store_active,
    store_idle,
)
from lapel.slices.firmware.service import OFFER_OF_BEAT, OFFER_WAITING, OFFERED
from lapel.slices.recordings.service import ACTIVE_RECORDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.devices.service import ConnectionKind
    from lapel.slices.heartbeats.wire import DeviceState

# Bytes of an event's row beside its text.
_EVENT_ROW_BYTES = 128

# `waiting`: commands or an offer wait for the device. DELIVER then reads them in a statement of its own,
# because PostgreSQL opens and locks all tables of a statement each time, and for nearly all heartbeats
# nothing waits.
_RETURNING = f"""
RETURNING {STORED}, {REVISION} AS config_revision, {WAITING} OR {OFFER_WAITING} AS waiting"""
_RETURNING_TOO = f"{_RETURNING}, d.diagnostics_taken"

# The daily limit of a device's diagnostics. $18 is the day (days since 1970). $19 is the number of bytes that
# the device may add in one day; 0: no limit. Of the new events of a heartbeat, either all are stored or none.
# None are stored in a world that has too many rows (foundation/database/row_quota.py).
_USED = "CASE WHEN d.diagnostics_day = $18::integer THEN coalesce(d.diagnostics_bytes, 0) ELSE 0 END"
_NEW = f"""(SELECT coalesce(sum(octet_length(event.body) + {_EVENT_ROW_BYTES}), 0)
    FROM unnest($16::text[], $17::text[]) AS event (id, body)
    WHERE NOT EXISTS (SELECT 1 FROM device_diagnostics k
        WHERE k.world_id = d.world_id AND k.device_id = d.id AND k.event_id = event.id))"""
_TAKEN = f"""(($19::bigint = 0 OR {_USED} + {_NEW} <= $19)
        AND NOT {is_full("d.world_id")})"""
_COUNTED = f""",
    diagnostics_day = $18, diagnostics_taken = {_TAKEN},
    diagnostics_bytes = {_USED} + CASE WHEN {_TAKEN} THEN {_NEW} ELSE 0 END"""

# If this heartbeat's events are not stored now, some may have been stored before. The answer names these.
_KEPT = """, kept AS (
    INSERT INTO device_diagnostics
        (world_id, device_id, event_id, end_user_id, schema_version, body, received_at)
    SELECT beat.world_id, beat.id, event.id, beat.end_user_id, $15::integer, event.body::jsonb, $3
    FROM beat CROSS JOIN unnest($16::text[], $17::text[]) AS event (id, body)
    WHERE beat.diagnostics_taken
    ON CONFLICT (world_id, device_id, event_id) DO NOTHING
)
SELECT beat.*, CASE WHEN NOT beat.diagnostics_taken THEN (
    SELECT array_agg(k.event_id) FROM device_diagnostics k
    WHERE k.world_id = beat.world_id AND k.device_id = beat.id AND k.event_id = ANY($16)) END AS stored_before
FROM beat"""

# A device and a key have two statements each, because every execution pays for all that a statement could do.
# The short statement is for nearly all heartbeats; BEATS_OF_DEVICES does its work for several devices. The
# full statement is for a device that records or sends diagnostic events ($15 to $19).
BEATS_OF_DEVICES = f"WITH {SEVERAL} {store_idle()}{OF_SEVERAL}{_RETURNING}, asked.place"
BEAT_OF_DEVICE = f"{store_idle()}{OF_TOKEN}{_RETURNING}"
BEAT_OF_KEY = f"{store_idle()}{OF_KEY}{_RETURNING}"
FULL_BEAT_OF_DEVICE = f"""
WITH beat AS (
    {store_active(ACTIVE_RECORDING, COMMANDED_TO_RECORD)}{_COUNTED}{OF_TOKEN}{_RETURNING_TOO}
){_KEPT}"""
FULL_BEAT_OF_KEY = f"""
WITH beat AS (
    {store_active(ACTIVE_RECORDING, COMMANDED_TO_RECORD)}{_COUNTED}{OF_KEY}{_RETURNING_TOO}
){_KEPT}"""

# $1 to $3: the world, the device and the binding of the heartbeat. $4: the present time. $5 and $6: the state
# and the number of waiting recordings that the heartbeat reports, or NULL. When another request ends a
# command or an offer at the same moment, the row of the command or offer decides.
DELIVER = f"""
WITH {LOCKED_BEAT}, {DELIVERED_COMMANDS}, {OFFER_OF_BEAT}, {OFFERED}
SELECT (SELECT jsonb_agg(to_jsonb(delivered) ORDER BY delivered.created_at, delivered.id) FROM delivered
        WHERE delivered.status = 'delivered') AS commands,
    (SELECT to_jsonb(offer) FROM offer WHERE offer.assignment_id IN (SELECT offered.id FROM offered)) AS offer
"""

# Index: device_diagnostics_of_end_user. An end user has few devices over time.
NEXT_DEVICE = """
SELECT min(g.device_id) FROM device_diagnostics g
WHERE g.world_id = $1 AND g.end_user_id = $2 AND g.device_id > $3
"""
# The primary key gives the order, so that no page sorts.
OF_END_USER = """
SELECT g.device_id, g.event_id, g.schema_version, g.body, g.received_at FROM device_diagnostics g
WHERE g.world_id = $1 AND g.device_id = $2 AND g.event_id > $4 AND g.end_user_id = $3
ORDER BY g.event_id LIMIT $5
"""

PRUNE_DIAGNOSTICS = """
DELETE FROM device_diagnostics WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM device_diagnostics WHERE received_at < $1 ORDER BY received_at LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""

DELETE_OF_DEVICES = "DELETE FROM device_diagnostics WHERE world_id = $1 AND device_id = ANY($2::text[])"

DELETE_OF_END_USER = deleting_some(
    "device_diagnostics",
    "SELECT ctid FROM device_diagnostics WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE",
)


class ReportedFacts(NamedTuple):
    """Parameters $3 to $14 of a heartbeat's statement: the time, and the reported values. None: unreported.

    `recording_state` and `client_context` are JSON texts, and `minute` counts from 1970. This is a tuple,
    because the statement takes its parameters by position.
    """

    now: datetime
    battery_percent: int | None
    storage_used_mb: int | None
    storage_total_mb: int | None
    signal_strength_dbm: int | None
    firmware_version: str | None
    name: str | None
    recording_state: str | None
    device_state: DeviceState | None
    client_context: str | None
    minute: int
    connection: ConnectionKind | None


class ReportedState(msgspec.Struct, frozen=True):
    """The reports of a heartbeat: parameters $3 to $14, and $15 to $19 (None: the short statement)."""

    facts: ReportedFacts
    diagnostics: tuple[int | None, list[str], list[str], int, int] | None


class DeviceBeat(msgspec.Struct, frozen=True):
    """A heartbeat for the short statement, from the device that has this token. `device_id`: see
    `beat_of_device`."""

    token_hash: bytes
    device_id: str | None
    facts: ReportedFacts


class BeatRow(msgspec.Struct, frozen=True):
    """A device whose heartbeat was stored."""

    world_id: int
    id: str
    serial_number: str
    end_user_id: str | None
    binding_generation: int
    firmware_version: str | None
    project_id: str
    mode: Mode
    low_battery: bool | None
    config_revision: int
    waiting: bool


class SharedBeatRow(BeatRow, frozen=True):
    """A device whose heartbeat was stored with those of others. `place`: its heartbeat, counted from 1."""

    place: int


class FullBeatRow(BeatRow, frozen=True):
    """A device whose heartbeat was stored, with the result for its diagnostic events.

    `diagnostics_taken`: the new events were stored. If they were not, `stored_before` has the ids of those
    events that were stored before.
    """

    diagnostics_taken: bool
    stored_before: list[str] | None


class DiagnosticRow(msgspec.Struct, frozen=True):
    """A stored diagnostic event; `body` is JSON text."""

    device_id: str
    event_id: str
    schema_version: int | None
    body: str
    received_at: datetime


class DeliveryRow(msgspec.Struct, frozen=True):
    """Commands and an offer for a device, as JSON texts."""

    commands: str | None = None
    offer: str | None = None


async def beat_of_device(
    connection: Connection, token_hash: bytes, device_id: str | None, reported: ReportedState
) -> BeatRow | None:
    """Store the heartbeat of the device that has this token.

    None when no device has this token, or when another device than `device_id` has it. The row is a
    FullBeatRow if the heartbeat needed the full statement.
    """
    at = (token_hash, device_id, *reported.facts)
    if reported.diagnostics is None:
        return await fetch_row(connection, BeatRow, BEAT_OF_DEVICE, *at)
    return await fetch_row(connection, FullBeatRow, FULL_BEAT_OF_DEVICE, *at, *reported.diagnostics)


async def beats_of_devices(connection: Connection, beats: Sequence[DeviceBeat]) -> list[SharedBeatRow | None]:
    """Store the heartbeats of different devices, all at the latest of their times.

    None as in `beat_of_device`, and when another transaction has locked the device's row.
    """
    times, *reported, minutes, connections = zip(*(beat.facts for beat in beats), strict=True)
    return await fetch_found(
        connection,
        SharedBeatRow,
        BEATS_OF_DEVICES,
        len(beats),
        [beat.token_hash for beat in beats],
        [beat.device_id for beat in beats],
        max(times),
        *reported,
        max(minutes),
        connections,
    )


async def beat_of_key(
    connection: Connection, world_id: int, device_id: str, reported: ReportedState
) -> BeatRow | None:
    """As `beat_of_device`, for a device of the world. None when there is no such device."""
    at = (world_id, device_id, *reported.facts)
    if reported.diagnostics is None:
        return await fetch_row(connection, BeatRow, BEAT_OF_KEY, *at)
    return await fetch_row(connection, FullBeatRow, FULL_BEAT_OF_KEY, *at, *reported.diagnostics)


async def deliver(
    connection: Connection, beat: BeatRow, now: datetime, state: DeviceState | None, pending: int | None
) -> DeliveryRow:
    """Deliver the commands and the offer that wait for the device.

    `state` and `pending` are reported by the heartbeat. If they show that a command was done, the command is
    marked as executed.
    """
    binding = (beat.world_id, beat.id, beat.binding_generation)
    return await fetch_only_row(connection, DeliveryRow, DELIVER, *binding, now, state, pending)


async def next_device(connection: Connection, world_id: int, end_user_id: str, after: str) -> str | None:
    """The first device after the id `after` with diagnostics of a binding to the end user."""
    return await fetch_value(connection, str, NEXT_DEVICE, world_id, end_user_id, after)


async def of_end_user(
    connection: Connection, world_id: int, device_id: str, end_user_id: str, after: str, limit: int
) -> list[DiagnosticRow]:
    """At most `limit` diagnostics of a device in bindings to the end user, in order of their ids."""
    return await fetch_rows(
        connection, DiagnosticRow, OF_END_USER, world_id, device_id, end_user_id, after, limit
    )


async def prune_diagnostics(connection: Connection, before: datetime, limit: int) -> str:
    """Delete at most `limit` diagnostics received before `before`, oldest first. Returns the command tag."""
    return await connection.execute(PRUNE_DIAGNOSTICS, before, limit)


async def delete_of_devices(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Delete the diagnostics of devices."""
    await connection.execute(DELETE_OF_DEVICES, world_id, device_ids)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` diagnostics of an end user's bindings. Returns their number; 0: none is left."""
    return await fetch_only_value(connection, int, DELETE_OF_END_USER, world_id, end_user_id, limit)
