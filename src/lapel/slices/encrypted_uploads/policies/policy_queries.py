"""All SQL of the policies that devices were told, and of the revisions of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_row
from lapel.slices.encrypted_uploads.documents.profiles import PolicyName
from lapel.slices.projects.service import WORLDS_IN_PROJECTS

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

# A statement of its own, before the configuration is read: what is read later is newer than what the
# transaction that had the lock before has read.
LOCK_POLICY = "SELECT pg_advisory_xact_lock(hashtextextended('upload_policy:' || $1::bigint || ':' || $2, 0))"
READ_POLICY = """
SELECT policy, revision, configuration_sha256 FROM upload_policies WHERE world_id = $1 AND device_id = $2
"""
# Locks the project's counter until the transaction ends.
NEXT_POLICY_REVISION = """
INSERT INTO upload_policy_counters AS c (project_id, revision) VALUES ($1, 1)
ON CONFLICT (project_id) DO UPDATE SET revision = c.revision + 1 RETURNING revision
"""
# After a restore, devices may have seen revisions that are newer than the backup.
RAISE_COUNTERS = f"""
INSERT INTO upload_policy_counters AS c (project_id, revision)
SELECT DISTINCT p.id, $1::bigint FROM {WORLDS_IN_PROJECTS}
ON CONFLICT (project_id) DO UPDATE SET revision = c.revision + excluded.revision
"""
FORGET_POLICIES = "DELETE FROM upload_policies"
PUT_POLICY = """
INSERT INTO upload_policies (world_id, device_id, revision, policy, configuration_sha256)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (world_id, device_id) DO UPDATE SET revision = excluded.revision, policy = excluded.policy,
    configuration_sha256 = excluded.configuration_sha256
"""


class PolicyRow(msgspec.Struct, frozen=True):
    """What a device was told last."""

    policy: PolicyName
    revision: int
    configuration_sha256: bytes


async def lock_policy(connection: Connection, world_id: int, device_id: str) -> None:
    """Take the lock of a device's policy until the transaction ends."""
    await connection.execute(LOCK_POLICY, world_id, device_id)


async def read_policy(connection: Connection, world_id: int, device_id: str) -> PolicyRow | None:
    """What a device was told last; None if it was told nothing yet."""
    return await fetch_row(connection, PolicyRow, READ_POLICY, world_id, device_id)


async def next_policy_revision(connection: Connection, project_id: str) -> int:
    """The project's next revision, which no other device gets."""
    return await fetch_only_value(connection, int, NEXT_POLICY_REVISION, project_id)


async def raise_counters(connection: Connection, by: int) -> None:
    """Raise the revisions of all projects."""
    await connection.execute(RAISE_COUNTERS, by)


async def forget_policies(connection: Connection) -> None:
    """Forget what all devices were told, so that each gets a new revision."""
    await connection.execute(FORGET_POLICIES)


async def put_policy(connection: Connection, world_id: int, device_id: str, told: PolicyRow) -> None:
    """Store what a device is told, in place of what it was told before."""
    values = (told.revision, told.policy, told.configuration_sha256)
    await connection.execute(PUT_POLICY, world_id, device_id, *values)
