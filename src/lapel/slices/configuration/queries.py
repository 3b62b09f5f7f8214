"""All SQL of the configuration of worlds.

A device sees the greatest revision of its world, its end user and itself (see `REVISION`). This number must
rise with every change that applies to the device. So writers whose changes apply to the same device must draw
their revisions in the order of their commits. Each writer takes these steps:

1. It locks the row of its override's subject.
2. It takes the lock of the organization.
3. It draws the next revision.

After step 2, a writer does not wait for the row of any subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value
from lapel.slices.configuration.sections import Level
from lapel.slices.end_users.service import LOCK_END_USER
from lapel.slices.projects.service import WORLDS_IN_PROJECTS

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

    # The key of an override: world, level, the id of its subject ('' for the project), section.
    At = tuple[int, Level, str, str]


class OverrideRow(msgspec.Struct, frozen=True):
    """An override; `value` is JSON text. A row of None means that no override applies to the subject."""

    level: Level | None
    section: str | None
    value: str | None


class SubjectRow(msgspec.Struct, frozen=True):
    """The locked subject of an override. `end_user_id`: the end user who is the subject, or who wears the
    device; None: nobody."""

    end_user_id: str | None


# Every override that applies to a world ($1), an end user and a device. Each branch scans a primary key.
_OVERRIDES = """
SELECT 'organization' AS level, o.section, o.value
FROM {worlds}
JOIN organization_config_overrides o ON o.organization_id = p.organization_id AND o.mode = w.mode
WHERE w.id = $1{section}
UNION ALL
SELECT c.level, c.section, c.value FROM config_overrides c
WHERE c.world_id = $1 AND c.level = 'project' AND c.subject_id = ''{section}
UNION ALL
SELECT c.level, c.section, c.value FROM config_overrides c
WHERE c.world_id = $1 AND c.level = 'end_user' AND c.subject_id = {end_user}{section}
UNION ALL
SELECT c.level, c.section, c.value FROM config_overrides c
WHERE c.world_id = $1 AND c.level = 'device' AND c.subject_id = {device}{section}
""".replace("{worlds}", WORLDS_IN_PROJECTS)

# $2, $3: the ids of an end user and a device, or NULL.
RESOLVE = _OVERRIDES.format(end_user="$2::text", device="$3::text", section="")

# The same for one section ($4).
RESOLVE_SECTION = _OVERRIDES.format(end_user="$2::text", device="$3::text", section=" AND section = $4")

# The same, and a row for each device that is bound to the end user, whose value is NULL without an override.
# Not a join: PostgreSQL would read the overrides of all devices of the world.
RESOLVE_SECTION_OF_DEVICES = f"""
{RESOLVE_SECTION}
UNION ALL
SELECT 'device', $4, (
    SELECT c.value FROM config_overrides c
    WHERE c.world_id = d.world_id AND c.level = 'device' AND c.subject_id = d.id AND c.section = $4)
FROM devices d
WHERE d.world_id = $1 AND d.end_user_id = $2 AND d.deleted_at IS NULL
"""

# For an end user, and for a device with its present end user. If there is no such subject, there is no row.
# If no override applies, there is one row of NULLs. $3: the only end user that the caller may see; NULL: all.
RESOLVE_END_USER = f"""
WITH subject AS MATERIALIZED (
    SELECT e.id FROM end_users e
    WHERE e.world_id = $1 AND e.id = $2 AND e.deleted_at IS NULL AND ($3::text IS NULL OR e.id = $3)
), overrides AS ({_OVERRIDES.format(end_user="(SELECT s.id FROM subject s)", device="NULL", section="")})
SELECT o.level, o.section, o.value FROM subject LEFT JOIN overrides o ON true
"""

RESOLVE_DEVICE = f"""
WITH subject AS MATERIALIZED (
    SELECT d.id, d.end_user_id FROM devices d
    WHERE d.world_id = $1 AND d.id = $2 AND d.deleted_at IS NULL AND ($3::text IS NULL OR d.end_user_id = $3)
), overrides AS ({
    _OVERRIDES.format(
        end_user="(SELECT s.end_user_id FROM subject s)",
        device="(SELECT s.id FROM subject s)",
        section="",
    )
})
SELECT o.level, o.section, o.value FROM subject LEFT JOIN overrides o ON true
"""

# For other slices: every override of the section `retention` in a world ($1), and when it last changed. The
# subject is an end user or a device; '' on the levels of organization and project.
RETENTION_OVERRIDES = f"""
SELECT 'organization' AS level, '' AS subject_id, o.value, o.updated_at
FROM {WORLDS_IN_PROJECTS}
JOIN organization_config_overrides o ON o.organization_id = p.organization_id AND o.mode = w.mode
    AND o.section = 'retention'
WHERE w.id = $1
UNION ALL
SELECT c.level, c.subject_id, c.value, c.updated_at FROM config_overrides c
WHERE c.world_id = $1 AND c.section = 'retention'
"""

# For other slices: the worlds in which an override of the section `retention` applies.
WORLDS_WITH_RETENTION = f"""
SELECT c.world_id FROM config_overrides c WHERE c.section = 'retention'
UNION
SELECT w.id FROM {WORLDS_IN_PROJECTS}
JOIN organization_config_overrides o ON o.organization_id = p.organization_id AND o.mode = w.mode
WHERE o.section = 'retention'
"""

# A writer of an override locks the override's subject.
LOCK_WORLD = "SELECT NULL::text AS end_user_id FROM worlds WHERE id = $1 FOR NO KEY UPDATE"
LOCK_DEVICE = """
SELECT end_user_id FROM devices WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

# These locks are statements of their own, before the statement that draws the revision. So a transaction that
# waited for the lock draws a later revision. Writers at the level of devices share the lock with each other,
# because the lock of the device's row already orders them.
LOCK_ORGANIZATION_OF_WORLD = f"""
SELECT pg_advisory_xact_lock(hashtextextended('configuration:' || p.organization_id, 0))
FROM {WORLDS_IN_PROJECTS} WHERE w.id = $1
"""
SHARE_ORGANIZATION_OF_WORLD = f"""
SELECT pg_advisory_xact_lock_shared(hashtextextended('configuration:' || p.organization_id, 0))
FROM {WORLDS_IN_PROJECTS} WHERE w.id = $1
"""

NEXT_REVISION = "SELECT nextval('configuration_revisions')"
RAISE_WORLD = "UPDATE worlds SET config_revision = $2 WHERE id = $1"
RAISE_END_USER = "UPDATE end_users SET config_revision = $3 WHERE world_id = $1 AND id = $2"
RAISE_DEVICES = """
UPDATE devices SET config_revision = $3 WHERE world_id = $1 AND id = ANY($2::text[])
"""

READ_OVERRIDE = """
SELECT value FROM config_overrides WHERE world_id = $1 AND level = $2 AND subject_id = $3 AND section = $4
"""
PUT_OVERRIDE = """
INSERT INTO config_overrides (world_id, level, subject_id, section, value, revision, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (world_id, level, subject_id, section)
DO UPDATE SET value = excluded.value, revision = excluded.revision, updated_at = excluded.updated_at
"""
DELETE_OVERRIDE = """
DELETE FROM config_overrides WHERE world_id = $1 AND level = $2 AND subject_id = $3 AND section = $4
"""
DELETE_OVERRIDES = """
DELETE FROM config_overrides WHERE world_id = $1 AND level = $2 AND subject_id = ANY($3::text[])
"""


async def resolve(
    connection: Connection, world_id: int, end_user_id: str | None, device_id: str | None
) -> list[OverrideRow]:
    """Every override that applies to an end user and a device."""
    return await fetch_rows(connection, OverrideRow, RESOLVE, world_id, end_user_id, device_id)


async def resolve_section(
    connection: Connection, world_id: int, end_user_id: str | None, device_id: str | None, section: str
) -> list[OverrideRow]:
    """As `resolve`, for one section."""
    return await fetch_rows(
        connection, OverrideRow, RESOLVE_SECTION, world_id, end_user_id, device_id, section
    )


async def resolve_section_of_devices(
    connection: Connection, world_id: int, end_user_id: str, device_id: str | None, section: str
) -> list[OverrideRow]:
    """As `resolve_section`, and the overrides of all devices of the end user."""
    return await fetch_rows(
        connection, OverrideRow, RESOLVE_SECTION_OF_DEVICES, world_id, end_user_id, device_id, section
    )


async def resolve_end_user(
    connection: Connection, world_id: int, end_user_id: str, only: str | None
) -> list[OverrideRow]:
    """As `resolve`, for one end user. If the caller may not see the end user, the list is empty."""
    return await fetch_rows(connection, OverrideRow, RESOLVE_END_USER, world_id, end_user_id, only)


async def resolve_device(
    connection: Connection, world_id: int, device_id: str, only: str | None
) -> list[OverrideRow]:
    """As `resolve_end_user`, for one device and its end user."""
    return await fetch_rows(connection, OverrideRow, RESOLVE_DEVICE, world_id, device_id, only)


async def lock_subject(
    connection: Connection, world_id: int, level: Level, subject_id: str
) -> SubjectRow | None:
    """A subject, whose row is locked until the transaction ends. None when there is no such subject."""
    if level == "device":
        return await fetch_row(connection, SubjectRow, LOCK_DEVICE, world_id, subject_id)
    if level == "end_user":
        found = await fetch_value(connection, int, LOCK_END_USER, world_id, subject_id)
        return None if found is None else SubjectRow(subject_id)
    return await fetch_row(connection, SubjectRow, LOCK_WORLD, world_id)


async def raise_revision(connection: Connection, world_id: int, level: Level, subject_ids: list[str]) -> int:
    """Set the next revision on locked rows of a world, an end user or devices. Returns the revision."""
    if level == "device":
        await connection.execute(SHARE_ORGANIZATION_OF_WORLD, world_id)
        revision = await fetch_only_value(connection, int, NEXT_REVISION)
        await connection.execute(RAISE_DEVICES, world_id, subject_ids, revision)
        return revision
    await connection.execute(LOCK_ORGANIZATION_OF_WORLD, world_id)
    revision = await fetch_only_value(connection, int, NEXT_REVISION)
    if level == "end_user":
        await connection.execute(RAISE_END_USER, world_id, subject_ids[0], revision)
    else:
        await connection.execute(RAISE_WORLD, world_id, revision)
    return revision


async def read_override(connection: Connection, at: At) -> str | None:
    """An override as JSON text, if there is one."""
    return await fetch_value(connection, str, READ_OVERRIDE, *at)


async def put_override(connection: Connection, at: At, value: str, revision: int, now: datetime) -> None:
    """Store an override (JSON text), which replaces the previous override."""
    await connection.execute(PUT_OVERRIDE, *at, value, revision, now)


async def delete_override(connection: Connection, at: At) -> None:
    """Delete an override."""
    await connection.execute(DELETE_OVERRIDE, *at)


async def delete_overrides(
    connection: Connection, world_id: int, level: Level, subject_ids: list[str]
) -> None:
    """Delete all overrides of subjects that are being deleted."""
    await connection.execute(DELETE_OVERRIDES, world_id, level, subject_ids)
