"""Every list with every filter reads about as many rows as it shows, however many there are.

Each request is made through the API; the statements that it executed are explained with its arguments, once
with a plan of their own and once with the plan for any arguments, which PostgreSQL may choose after a while.
Of the lists that are asked for most, it does choose this plan. If nearly all worlds are small, PostgreSQL
takes every index that begins with the world for equally good in a plan for any world.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias, cast

import asyncpg
import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database.connection import PooledConnection
from lapel.foundation.http.operations import Operation
from tests.support.declared import declared_operations
from tests.support.large_world import BESIDE, FILL
from tests.support.plans import fill, nodes
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.tenants import Tenant, make_tenant
from tests.support.transport import loopback_client

Asked: TypeAlias = tuple[str, tuple[Any, ...]]  # a statement and its arguments

# `tests/retention/test_plans.py` has the plans of the preview, which reads 5,000 rows at once.
LISTS = [
    each
    for each in declared_operations()
    if each.method == "GET" and "limit" in each.query.__struct_fields__ and each.name != "preview_retention"
]
PAGE = {"limit", "cursor", "offset"}
PATH = {"device_id": "dev_1", "release_id": "fw_1", "session_id": "as_1", "webhook_id": "wh_1"}
NOW = datetime.now(UTC)
LATE, EARLY = (NOW - timedelta(hours=3)).isoformat(), (NOW - timedelta(days=400)).isoformat()
# By filter: values that show many rows, few, and none. By list and filter, where other values are needed.
VALUES: Mapping[str, tuple[str, ...]] = {
    "action": ("recording.created", "config.updated", "device.bound"),
    "active": ("true", "false"),
    "actor": ("key_1", "key_9999", "operator"),
    "created_after": (LATE, EARLY),
    "created_before": (LATE, EARLY),
    "device_id": ("dev_1", "dev_9999", "dev_none"),
    "end_user_id": ("eu_1", "eu_9999", "eu_10000", "eu_none"),
    "event_id": ("evt_1", "evt_none"),
    "external_id": ("u1", "none"),
    "include": ("words",),
    "q": ("title", "title 9999", "nothing"),
    "recorded_after": (LATE, EARLY),
    "recorded_before": (LATE, EARLY),
    "recording_id": ("rec_1", "rec_9981", "rec_none"),
    "resource_id": ("rec_1", "rec_9999", "rec_none", "dev_1"),
    "resource_type": ("recording", "end_user"),
    "scope_type": ("recording", "selected", "library"),
    "since": (LATE, EARLY),
    "state": ("closed", "open"),
    "transcription_id": ("txn_1", "txn_9981", "txn_none"),
    "types": (
        "recording.created",
        "ota.failed",
        "recording.*",
        "ota.failed,recording.created",
        "device.bound",
    ),
    "until": (LATE, EARLY),
    "list_commands.status": ("executed", "cancelled", "expired", "pending", "delivered"),
    "list_devices.status": ("bound", "unbound"),
    "list_recordings.status": ("uploaded", "failed", "pending", "processing"),
    "list_transcriptions.status": ("completed", "failed", "pending"),
    "list_webhook_deliveries.status": ("succeeded", "failed", "pending"),
    "list_webhook_endpoint_deliveries.status": ("succeeded", "failed", "pending"),
}
# The most rows that a plan may sort, and with at most one filter read and throw away, for a page of 20.
BOUND = 1_000
# A plan for any arguments that costs more than this is not chosen: see `PLANNED_ANEW`.
NEVER_CHOSEN = 1_000_000
# By list that PostgreSQL plans five times at most in a connection: the filters with which it does so.
PLANNED_ONCE: Mapping[str, set[str]] = {
    "list_devices": set(),
    "list_end_users": set(),
    "list_events": {"created_after"},
    "list_recordings": set(),
    "list_transcriptions": {"include"},
}
# What walks along the index of a list until it has found a page, and may find nothing.
WALKS = {
    "q": "a text may stand anywhere in a title",
    "scope_type": "of the sessions of a project, each type is common",
}


@dataclass(frozen=True, slots=True)
class Large:
    """A server whose tenant has many rows of everything, and the statements that it executed."""

    tenant: Tenant
    url: str
    database: str
    asked: list[Asked]
    modes: tuple[str, ...]


@pytest.fixture(scope="module", params=[pytest.param("alone", marks=pytest.mark.deep), "beside small worlds"])
async def large(
    postgres: EmbeddedPostgres, module_folder: Path, request: pytest.FixtureRequest
) -> AsyncGenerator[Large]:
    database = create_database(postgres, "lists", "template")
    asked: list[Asked] = []

    def noting(name: str) -> Any:
        real = getattr(asyncpg.Connection, name)

        async def noted(connection: Any, statement: str, *arguments: Any, **options: Any) -> Any:
            asked.append((statement, arguments))
            return await real(connection, statement, *arguments, **options)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fetch", "fetchrow", "fetchval"):
            patch.setattr(PooledConnection, name, noting(name), raising=False)
        async with running(module_folder, database) as server:
            tenant = await make_tenant(server.ports)
            modes = ("force_custom_plan", "force_generic_plan")
            await fill(database, FILL.replace("$W", str(tenant.test_world)))
            if request.param != "alone":
                await fill(database, BESIDE.replace("$W", str(tenant.test_world)))
                modes = ("force_generic_plan",)  # the other one does not depend on other worlds
            yield Large(tenant, server.url, database, asked, modes)
    drop_database(postgres, "lists")


def filters_of(operation: Operation) -> Iterator[dict[str, str]]:
    """No filter; each value of each filter; each pair of filters with their first and their last value."""
    names = sorted(set(operation.query.__struct_fields__) - PAGE)
    values = {name: VALUES.get(f"{operation.name}.{name}") or VALUES[name] for name in names}
    yield {}
    for name in names:
        yield from ({name: value} for value in values[name])
    for one, other in combinations(names, 2):
        for of_one in {values[one][0], values[one][-1]}:
            yield from ({one: of_one, other: value} for value in (values[other][0], values[other][-1]))


@pytest.mark.parametrize("operation", LISTS, ids=lambda each: each.name)
async def test_a_page_reads_no_more_than_a_few_rows(large: Large, operation: Operation) -> None:
    path = operation.path
    for name in operation.parameters:
        path = path.replace(f"{{{name}}}", PATH[name])
    found: dict[str, str] = {}
    once = PLANNED_ONCE.get(operation.name)
    # The rows have no more than the lists need: their answers would not pass the check of the other tests.
    async with loopback_client(large.url) as client:
        connection = await asyncpg.connect(large.database)
        try:
            for query in filters_of(operation):
                fault = await fault_of(large, client, connection, path, query)
                if fault is None and once is not None and query.keys() <= once:
                    fault = await planned_anew(connection, large.asked)
                if fault is not None:
                    found["&".join(f"{name}={value}" for name, value in query.items())] = fault
        finally:
            await connection.close()
    assert found == {}, "\n".join(f"{query}: {fault}" for query, fault in found.items())


async def fault_of(
    large: Large,
    client: httpx.AsyncClient,
    connection: asyncpg.Connection[Any],
    path: str,
    query: Mapping[str, str],
) -> str | None:
    """What is wrong with the plan of one statement of a request; None if nothing is."""
    large.asked.clear()
    answer = await client.get(path, params={**query, "limit": 20}, headers=large.tenant.headers)
    assert answer.status_code in (200, 404), answer.text
    asked = dict(large.asked)
    assert query or any("ORDER BY" in statement for statement in asked), asked
    walks = len(query) > 1 or not WALKS.keys().isdisjoint(query)
    for statement, arguments in asked.items():
        for mode in large.modes:
            plan = await explained(connection, statement, arguments, mode)
            chosen = mode != "force_generic_plan" or plan["Total Cost"] < NEVER_CHOSEN
            if chosen and (fault := next(faults(plan, walks=walks), None)):
                return f"{mode}: {fault}\n{statement}"
    return None


async def planned_anew(connection: asyncpg.Connection[Any], asked: list[Asked]) -> str | None:
    """A statement of a request that PostgreSQL plans for each execution; None if there is none."""
    for statement, arguments in asked:
        await connection.execute(f"PREPARE asked AS {statement}")
        for _ in range(8):
            await connection.execute(f"EXECUTE asked {given(arguments)}")
        planned: int = await connection.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE name = 'asked'"
        )
        await connection.execute("DEALLOCATE asked")
        if planned > 5:
            return f"planned {planned} times:\n{statement}"
    return None


async def explained(
    connection: asyncpg.Connection[Any], statement: str, arguments: tuple[Any, ...], mode: str
) -> dict[str, Any]:
    """The plan of a statement, executed."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE asked AS {statement}")
        text = await connection.fetchval(
            f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) EXECUTE asked {given(arguments)}"
        )
    await connection.execute("DEALLOCATE asked")
    return json.loads(text)[0]["Plan"]


def given(arguments: tuple[Any, ...]) -> str:
    """The arguments of an EXECUTE as SQL."""
    return f"({', '.join(map(literal, arguments))})" if arguments else ""


def literal(value: object) -> str:
    """An argument as SQL."""
    match value:
        case None:
            return "NULL"
        case bool() | int() | float():
            return str(value)
        case bytes():
            return f"'\\x{value.hex()}'"
        case datetime():
            return f"'{value.isoformat()}'"
        case list() | tuple():
            items = (_item(each) for each in cast("Sequence[object]", value))
            return f"'{{{','.join(items)}}}'"
        case _:
            return "'" + str(value).replace("'", "''") + "'"


def _item(value: object) -> str:
    return f'"\\\\x{value.hex()}"' if isinstance(value, bytes) else str(value)


def faults(plan: dict[str, Any], *, walks: bool) -> Iterator[str]:
    """What reads a whole range: a sequential scan, a sort of many rows, and without `walks` also
    more rows that are read and thrown away."""
    for node in nodes(plan):
        kind, loops = node["Node Type"], node.get("Actual Loops", 1)
        rows = node.get("Actual Rows", 0) * loops
        thrown = sum(node.get(each, 0) for each in node if each.startswith("Rows Removed by")) * loops
        table = node.get("Relation Name")
        if kind == "Seq Scan" and rows + thrown > 10:
            yield f"{kind} of {table}: {rows + thrown:.0f} rows"
        elif kind in ("Sort", "Incremental Sort"):
            below = next(each for each in node["Plans"] if each["Parent Relationship"] == "Outer")
            sorted_rows = below.get("Actual Rows", 0) * below.get("Actual Loops", 1)
            if sorted_rows > BOUND:
                yield f"{kind} of {sorted_rows:.0f} rows"
        if rows + thrown > BOUND and not walks:
            yield f"{kind} of {table}: {rows:.0f} rows, and {thrown:.0f} that are thrown away"
