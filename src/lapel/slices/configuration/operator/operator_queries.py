"""All SQL of the organization's level, which only the operator writes: one override per mode and section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_rows, fetch_value
from lapel.slices.configuration.queries import NEXT_REVISION, OverrideRow
from lapel.slices.projects.service import (
    LIST_ORGANIZATIONS,
    LOCK_ORGANIZATION_ROW,
    WORLDS_IN_PROJECTS,
    WorldRow,
)

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection

    # The key of an override: organization, mode, section.
    At = tuple[str, Mode, str]


class OrganizationRow(msgspec.Struct, frozen=True):
    """An organization."""

    id: str
    name: str


LIST_OVERRIDES = """
SELECT 'organization' AS level, section, value FROM organization_config_overrides
WHERE organization_id = $1 AND mode = $2
"""

LOCK_WORLDS = f"""
SELECT w.id, w.project_id, w.mode FROM {WORLDS_IN_PROJECTS}
WHERE p.organization_id = $1 AND w.mode = $2 ORDER BY w.id FOR NO KEY UPDATE OF w
"""

# As in queries.py, this lock is taken before the statement that draws the revision.
LOCK_ORGANIZATION = "SELECT pg_advisory_xact_lock(hashtextextended('configuration:' || $1::text, 0))"
RAISE_WORLDS = "UPDATE worlds SET config_revision = $2 WHERE id = ANY($1::bigint[])"

READ_OVERRIDE = """
SELECT value FROM organization_config_overrides WHERE organization_id = $1 AND mode = $2 AND section = $3
"""
PUT_OVERRIDE = """
INSERT INTO organization_config_overrides (organization_id, mode, section, value, revision, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organization_id, mode, section)
DO UPDATE SET value = excluded.value, revision = excluded.revision, updated_at = excluded.updated_at
"""
DELETE_OVERRIDE = """
DELETE FROM organization_config_overrides WHERE organization_id = $1 AND mode = $2 AND section = $3
"""


async def list_organizations(connection: Connection) -> list[OrganizationRow]:
    """Every organization, oldest first."""
    return await fetch_rows(connection, OrganizationRow, LIST_ORGANIZATIONS)


async def list_overrides(connection: Connection, organization_id: str, mode: Mode) -> list[OverrideRow]:
    """Every override of an organization in one mode."""
    return await fetch_rows(connection, OverrideRow, LIST_OVERRIDES, organization_id, mode)


async def lock_worlds(connection: Connection, organization_id: str, mode: Mode) -> list[WorldRow]:
    """Lock an organization and its worlds of a mode until the transaction ends. Returns the worlds."""
    await connection.execute(LOCK_ORGANIZATION_ROW, organization_id)
    return await fetch_rows(connection, WorldRow, LOCK_WORLDS, organization_id, mode)


async def raise_revision(connection: Connection, organization_id: str, worlds: list[int]) -> int:
    """Set the next revision on worlds that the caller has locked. Returns the revision."""
    await connection.execute(LOCK_ORGANIZATION, organization_id)
    revision = await fetch_only_value(connection, int, NEXT_REVISION)
    await connection.execute(RAISE_WORLDS, worlds, revision)
    return revision


async def read_override(connection: Connection, at: At) -> str | None:
    """An organization's override as JSON text, if there is one."""
    return await fetch_value(connection, str, READ_OVERRIDE, *at)


async def put_override(connection: Connection, at: At, value: str, revision: int, now: datetime) -> None:
    """Store an organization's override (JSON text), which replaces the previous override."""
    await connection.execute(PUT_OVERRIDE, *at, value, revision, now)


async def delete_override(connection: Connection, at: At) -> None:
    """Delete an organization's override."""
    await connection.execute(DELETE_OVERRIDE, *at)
