"""A new slice is one folder and one line of the tuple: whatever reads the tuple finds all of its nouns."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import httpx
import pytest

from lapel import app
from lapel.foundation.slices import described
from tests.slices.crash_points import points_in
from tests.slices.nouns import folder_of, named_in, nouns_of
from tests.slices.pages import errors_of, page_of
from tests.slices.toy import queries
from tests.slices.toy.slice import SLICE
from tests.support.declared import declared_services
from tests.support.matrix import callers, private, refused_kinds
from tests.support.patience import LONG
from tests.support.running import Running, running
from tests.support.statements import faults, statements, tenant_tables, without_world
from tests.support.tenants import bearer, make_key, make_tenant

SLICES = (*app.SLICES, SLICE)


@pytest.fixture
async def playing(fresh_database: str, tmp_path: Path) -> AsyncGenerator[tuple[Running, httpx.AsyncClient]]:
    """A server of all slices and the toy's."""
    connection = await asyncpg.connect(fresh_database)
    await connection.execute(queries.CREATE)
    await connection.close()
    # The client of other tests checks each answer against the document of the application's own slices.
    async with (
        running(tmp_path, fresh_database, SLICES) as live,
        httpx.AsyncClient(base_url=live.url, timeout=LONG) as client,
    ):
        yield live, client
        async with live.ports.database.acquire() as connection:  # nor are its events those of the contract
            await connection.execute("DELETE FROM events WHERE type = 'toy.made'")


async def test_the_server_knows_its_routes_scopes_tokens_ids_errors_and_events(
    playing: tuple[Running, httpx.AsyncClient],
) -> None:
    live, client = playing
    tenant = await make_tenant(live.ports)
    made = await client.post("/v1/toys", json={}, headers=tenant.headers)
    assert made.status_code == 201, made.text
    toy = made.json()
    assert toy["id"].startswith("toy_")
    own = await client.get(f"/v1/toys/{toy['id']}", headers=bearer(toy["token"]))
    assert own.json() == {"id": toy["id"], "token": None}
    refused = await client.post("/v1/toys", json={}, headers=bearer(toy["token"]))
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == "This route takes a key, not a toy's token."
    scoped = bearer(await make_key(live.ports, tenant.test_world, "rk_test", scopes=("toys:read",)))
    assert (await client.get(f"/v1/toys/{toy['id']}", headers=scoped)).status_code == 200
    lacking = await client.post("/v1/toys", json={}, headers=scoped)
    assert lacking.json()["error"]["message"] == "This key lacks the scope `toys:write`."
    broken = await client.post("/v1/toys", json={"broken": True}, headers=tenant.headers)
    assert (broken.status_code, broken.json()["error"]["code"]) == (409, "toy_broken")
    async with live.ports.database.acquire() as connection:
        event = await connection.fetchval("SELECT type FROM events WHERE resource_id = $1", toy["id"])
    assert event == "toy.made"
    assert "toys" in {table.name for table in live.services.tables if table.grows}


def test_the_document_describes_it() -> None:
    document = described(declared_services((SLICE,)))
    path = document["paths"]["/v1/toys/{toy_id}"]["get"]
    assert path["x-required-scope"] == "toys:read"
    assert {"toyToken": []} in path["security"]
    assert path["parameters"][0]["schema"]["pattern"] == "^toy_[A-Za-z0-9]{1,64}$"
    assert "toyToken" in document["components"]["securitySchemes"]
    refusal = document["paths"]["/v1/toys"]["post"]["responses"]["409"]["$ref"].rpartition("/")[2]
    assert "toy_broken" in document["components"]["responses"][refusal]["description"]


def test_the_authorization_matrix_has_it() -> None:
    operations = private(declared_services((SLICE,)).operations)
    names = {(each.name, kind) for each, kind in callers(operations)}
    assert {("make_toy", "key"), ("get_toy", "key"), ("get_toy", "toy")} <= names
    assert "toy" in refused_kinds(SLICES)


async def test_the_check_of_tenancy_has_its_statements_and_its_table(
    playing: tuple[Running, httpx.AsyncClient], fresh_database: str
) -> None:
    found = statements(("tests.slices.toy.queries",))
    assert {name.rpartition(".")[2] for name in found} == {"INSERT", "FIND", "FIND_TOKEN"}
    tables = await tenant_tables(fresh_database)
    assert "toys" in tables
    assert list(faults("SELECT id FROM toys WHERE id = $1", tables))
    live, _ = playing
    assert await without_world(fresh_database) == {
        table.name for table in live.services.tables if table.shared
    }


def test_the_pages_have_to_tell_of_it() -> None:
    assert errors_of(SLICES) - errors_of(app.SLICES) == {(409, "toy_broken")}
    (line,) = [each for each in page_of(SLICES) if each not in page_of(app.SLICES)]
    for noun in ("toys:read", "toy_", "ttok_", "toy_broken", "toys", "toy.made"):
        assert f"`{noun}`" in line


def test_its_crash_points_are_compared_with_its_code() -> None:
    assert [each.pattern for each in points_in(folder_of(SLICE))] == ["toy:made"]


def test_the_foundation_may_not_name_it() -> None:
    for source in ('x = "SELECT 1 FROM toys"', 'x = "toys:read"', "raise ToyBroken", 'x = "toy.made"'):
        assert list(named_in(source, nouns_of(SLICES)))
