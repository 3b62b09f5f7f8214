"""The checks of `lapel doctor` of connections to the operator's own PostgreSQL, and of rights in it.

Source: PostgreSQL's documentation of pg_stat_replication and synchronous_commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from lapel.cli.doctor.checks import Finding, failed
from lapel.cli.shared.faults import direct_url
from lapel.foundation.database.pool import API_CONNECTIONS, CONNECTIONS, DATABASE_AWAY
from lapel.foundation.database.time_limits import is_pooled, limits, shares_backends
from lapel.slices.audit.chain.chain_queries import changeable_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

# Connections that a process holds at most beside its pool (docs/operations.md): it listens, counts rate
# limits and checks the database; a worker also has PgQueuer's, and replaces those that have failed.
_BESIDE_POOL_OF_API, _BESIDE_POOL_OF_WORKER = 5, 10

# What PostgreSQL limits outside a transaction: `0` is no limit.
IN_FORCE = "SELECT $1::text[], array(SELECT current_setting(name) FROM unnest($1::text[]) name)"
# Without the right to read statistics, a role sees that there are standbys, but not of which kind.
ASYNCHRONOUS = """
SELECT count(*) > 0 AND (current_setting('synchronous_commit') IN ('off', 'local')
    OR current_setting('synchronous_standby_names') = '')
FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
"""
ROOM = """
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    nullif(rolconnlimit, -1), nullif(datconnlimit, -1))
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


class _Limits(NamedTuple):
    names: list[str]
    values: list[str]


async def connections(connection: Connection, ports: Ports, workers: int) -> AsyncIterator[Finding]:
    """Findings about poolers, limits of time, standbys and the number of connections. `workers`: seen now."""
    settings = ports.settings
    if settings.uses_embedded_database:
        return
    if (pooler := await _pooler(settings)) is not None:
        yield pooler
    yield await _time_limits(connection, settings)
    if await connection.fetchval(ASYNCHRONOUS):
        yield Finding(
            "standby", "warning", "no standby has a commit before it is answered",
            "Set synchronous_standby_names, and synchronous_commit to `on`: otherwise a failover can lose "
            "uploads that were promised.",
        )  # fmt: skip
    if not is_pooled(settings):
        yield await _room(connection, settings, workers)


async def _pooler(settings: Settings) -> Finding | None:
    """A finding if LISTEN leads nowhere, or through a pooler of transactions."""
    try:
        with direct_url(settings) as url:
            is_shared = await shares_backends(url)
    except (asyncpg.PostgresError, *DATABASE_AWAY) as fault:  # not of the pool's connection
        return failed(fault, settings, "pooler")
    if not is_shared:
        return None
    if is_pooled(settings):
        remedy, name = "Let it name PostgreSQL itself", "LAPEL_LISTEN_DATABASE_URL"
    else:
        remedy = "Set LAPEL_LISTEN_DATABASE_URL to a connection past it"
        name = "LAPEL_DATABASE_URL"
    return Finding(
        "pooler", "warning", f"{name} leads through PgBouncer or another pooler, which loses notifications",
        f'{remedy}: see "PgBouncer" in docs/operations.md.',
    )  # fmt: skip


async def _time_limits(connection: Connection, settings: Settings) -> Finding:
    """Which limits hold outside transactions. A transaction behind a pooler sets its own."""
    wanted = limits()
    row = await connection.fetchrow(IN_FORCE, list(wanted))
    found = _Limits(*row) if row is not None else _Limits([], [])
    shown = ", ".join(f"{name} {value}" for name, value in zip(*found, strict=True))
    if "0" not in found.values:
        return Finding("time limits", "ok", shown)
    missing = f"{shown}: 0 is no limit"
    if is_pooled(settings):
        each = " ".join(f"ALTER ROLE CURRENT_USER SET {name} = '{value}';" for name, value in wanted.items())
        remedy = f"Run this as Lapel's role, and let PgBouncer RECONNECT: {each}"
    else:
        remedy = "A pooler ignores them: set LAPEL_LISTEN_DATABASE_URL to a connection past it."
    return Finding("time limits", "warning", missing, remedy)


async def _room(connection: Connection, settings: Settings, workers: int) -> Finding:
    """Whether PostgreSQL has connections for this machine's API processes, and for all workers."""
    room: int = await connection.fetchval(ROOM)
    of_api = API_CONNECTIONS + _BESIDE_POOL_OF_API
    of_worker = CONNECTIONS + _BESIDE_POOL_OF_WORKER
    needed = of_api * settings.api_processes + of_worker * max(1, workers)
    shown = f"{room} for Lapel's role; {needed} for this machine's API and {max(1, workers)} worker(s)"
    if room < needed:
        remedy = "Raise max_connections, or the limit of the role or the database, or use PgBouncer."
        return Finding("connections", "warning", shown, remedy)
    return Finding("connections", "ok", shown)


async def audit_rights(connection: Connection) -> Finding:
    """Whether the database lets Lapel's own role change the audit log, which must only grow."""
    tables = await changeable_tables(connection)
    if not tables:
        return Finding("audit log", "ok", "Lapel's role in the database can add entries, but not change them")
    return Finding(
        "audit log",
        "warning",
        f"Lapel's role in the database may change or delete rows of {', '.join(tables)}",
        "Let LAPEL_DATABASE_URL name a role that is no superuser, and owns the tables; then run "
        "`lapel migrate`, which revokes these rights.",
    )
