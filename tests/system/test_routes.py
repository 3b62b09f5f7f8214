"""Health, readiness, metrics and the API's own description."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel import __version__
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.asgi import Scope
from lapel.foundation.database.migrations import head
from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports
from lapel.foundation.storage.object_info import ObjectInfo
from lapel.slices.system.process_metrics import is_local
from lapel.slices.system.service import Probe
from tests.support.client import api_client
from tests.support.patience import LONG
from tests.support.postgres import END_OTHERS, create_database, drop_database
from tests.support.running import Running, running, working
from tests.support.tenants import Tenant

HERE = "http://127.0.0.1:8080"


async def test_health_has_exactly_three_keys(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "database": "connected", "billing": "disabled"}


@pytest.fixture
async def doomed(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> AsyncGenerator[tuple[Running, Callable[[], None]]]:
    """A server, and how to take its database away."""
    url = create_database(postgres, "doomed", "template")
    async with running(tmp_path, url) as live:
        yield live, lambda: drop_database(postgres, "doomed")
    drop_database(postgres, "doomed")


async def test_without_the_database_it_is_unhealthy_and_unready(
    doomed: tuple[Running, Callable[[], None]],
) -> None:
    live, take_away = doomed
    take_away()
    async with api_client(live.url) as client:
        health = await client.get("/health")
        assert health.status_code == 503
        assert health.json() == {"status": "unhealthy", "database": "disconnected", "billing": "disabled"}
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        body = ready.json()
        assert (body["status"], body["database"], body["queue"]) == (
            "unready",
            "disconnected",
            "disconnected",
        )
        assert body["store"] == "connected"
        assert body["migrations"]["applied"] is None
        metrics = await client.get("/metrics")
        assert metrics.status_code == 200
        assert samples(metrics.text)["lapel_database_up"] == 0


async def test_readiness_tells_of_every_part(fresh_database: str, tmp_path: Path) -> None:
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        before = (await client.get("/health/ready")).json()
        assert before["status"] == "degraded"
        assert before["queue"] == "no_worker"
        async with working(live):
            now = await client.get("/health/ready")
            for _ in range(1000):
                if now.json()["queue"] == "running":
                    break
                now = await client.get("/health/ready")
            assert now.status_code == 200
            body = now.json()
            assert body.pop("version") == __version__
            assert re.fullmatch("[0-9a-f]{12}", body.pop("commit") or "0" * 12)
            assert body == {
                "status": "ready",
                "database": "connected",
                "store": "connected",
                "queue": "running",
                "disk": "ok",
                "migrations": {"applied": head(), "expected": head()},
            }
        async with live.ports.database.acquire() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = '0001'")
        older = await client.get("/health/ready")
        assert older.status_code == 503
        assert older.json()["status"] == "unready"
        async with live.ports.database.acquire() as connection:
            await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        newer = await client.get("/health/ready")
        assert newer.status_code == 200, "this server may run on it"
        assert newer.json()["migrations"] == {"applied": "9999", "expected": head()}
        async with live.ports.database.acquire() as connection:
            await connection.execute("UPDATE alembic_version SET oldest_compatible = '9998'")
        contracted = await client.get("/health/ready")
        assert (contracted.status_code, contracted.json()["status"]) == (503, "unready")


def samples(text: str) -> dict[str, float]:
    """Values by name, labels left out."""
    return {
        each.name: each.value for family in text_string_to_metric_families(text) for each in family.samples
    }


@pytest.mark.deep
async def test_metrics_without_what_waits_do_not_say_that_the_database_is_away(
    fresh_database: str, tmp_path: Path
) -> None:
    behind = {
        "lapel_events_waiting_seconds",
        "lapel_webhook_overdue_seconds",
        "lapel_webhooks_overdue",
        "lapel_search_waiting_seconds",
        "lapel_search_transcripts_waiting",
        "lapel_publication_waiting_seconds",
    }
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        for table in ("webhook_deliveries", "events", "search_transcripts", "encrypted_upload_sessions"):
            async with live.ports.database.transaction() as lock:
                await lock.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                values = samples((await client.get("/metrics")).text)
            assert values["lapel_database_up"] == 1
            assert "lapel_workers" in values
            assert values.keys() & behind == set()
        values = samples((await client.get("/metrics")).text)
        assert values["lapel_database_up"] == 1
        assert values.keys() & behind == behind


async def test_metrics_name_no_tenant(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    made = await client.post("/v1/end-users", json={"name": "Jane"}, headers=tenant.headers)
    await client.get(f"/v1/end-users/{made.json()['id']}", headers=tenant.headers)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "INSERT INTO findings (kind, found, last_found_at) VALUES ('test_finding', 7, now())"
        )
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = samples(answer.text)
    assert values["lapel_database_up"] == 1
    assert 'lapel_findings_total{kind="test_finding"} 7' in answer.text
    assert "lapel_http_request_seconds_count" in values
    for secret in (tenant.project_id, made.json()["id"], tenant.test_key, str(tenant.test_key[-20:])):
        assert secret not in answer.text
    names = Counter(line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE"))
    assert {name for name, count in names.items() if count > 1} == set()


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"])
async def test_metrics_are_not_for_who_comes_through_a_proxy(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/metrics", headers={header: "203.0.113.9"})
    assert answer.status_code == 403
    spoofed = await client.get("/metrics", headers={header: "127.0.0.1"})
    assert spoofed.status_code == 403


async def test_metrics_elsewhere_ask_for_the_token(fresh_database: str, tmp_path: Path) -> None:
    async with (
        running(tmp_path, fresh_database, LAPEL_METRICS_TOKEN="a-token-for-metrics") as live,
        api_client(live.url) as client,
    ):
        away = {"X-Forwarded-For": "203.0.113.9"}
        assert (await client.get("/metrics", headers=away)).status_code == 401
        for wrong in ("Bearer nonsense", "a-token-for-metrics", "Bearer a-token-for-metrics2", "Bearer"):
            assert (await client.get("/metrics", headers={**away, "Authorization": wrong})).status_code == 401
        right = {**away, "Authorization": "Bearer a-token-for-metrics"}
        assert (await client.get("/metrics", headers=right)).status_code == 200
        assert (await client.get("/metrics")).status_code == 200


async def test_an_encoded_slash_leads_nowhere(live: Running, tenant: Tenant) -> None:
    """Without the check of the answers, which looks for the decoded path in the document."""
    async with httpx.AsyncClient(base_url=live.url, headers=tenant.headers, timeout=LONG) as client:
        assert (await client.get("/v1/recordings")).status_code == 200
        for path in ("/v1/%72ecordings", "/%761/recordings", "/%6detrics", "/%68ealth", "/v1%2frecordings"):
            answer = await client.get(path)
            assert answer.status_code == 404, path
            assert answer.json()["error"]["message"].endswith("has percent-encoded characters.")
        for path in ("/v1%2frecordings", "/v1/recordings%2Fsearch", "/%2Fmetrics", "/store%2Flapel/x"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path


async def test_metrics_take_get_and_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/metrics")).status_code == 200
    refused = await client.post("/metrics")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("203.0.113.9", False), ("10.0.0.1", False), ("::ffff:203.0.113.9", False), ("fe80::1", False),
        ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_which_addresses_are_this_machine(address: str, local: bool) -> None:
    assert is_local(to_metrics((address, 1), b"localhost:8080"), HERE) is local
    assert not is_local(to_metrics(None, b"localhost:8080"), HERE)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (b"localhost", True), (b"LOCALHOST:1", True), (b"api.localhost", True), (b"127.0.0.1:8080", True),
        (b"[::1]:8080", True), (b"api.example.com", False), (b"localhost.example.com", False),
        (b"203.0.113.9", False), (b"[::1", False), (b"", False), (b"localhost@example.com", False),
    ],
)  # fmt: skip
def test_a_proxy_that_keeps_the_host_makes_nobody_local(host: bytes, local: bool) -> None:
    assert is_local(to_metrics(("127.0.0.1", 1), host), HERE) is local


@pytest.mark.parametrize(
    ("base_url", "version", "header", "local"),
    [
        (HERE, "1.1", b"accept", True), ("http://[::1]:8080", "1.1", b"accept", True),
        ("https://api.example.com", "1.1", b"accept", False),
        ("http://10.0.0.1:8080", "1.1", b"accept", False),
        (HERE, "1.0", b"accept", False), (HERE, "1.1", b"x-forwarded-proto", False),
    ],
)  # fmt: skip
def test_what_shows_that_a_proxy_may_be_in_front(
    base_url: str, version: str, header: bytes, local: bool
) -> None:
    scope = {**to_metrics(("127.0.0.1", 1), b"127.0.0.1:8080"), "http_version": version}
    scope["headers"].append((header, b"https"))
    assert is_local(scope, base_url) is local


def to_metrics(client: tuple[str, int] | None, host: bytes) -> Scope:
    return {"type": "http", "http_version": "1.1", "client": client, "headers": [(b"host", host)]}


async def test_the_document_is_served_as_it_is_described(client: httpx.AsyncClient, live: Running) -> None:
    answer = await client.get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["servers"] == [{"url": live.url}]
    served = {(method.upper(), path) for path, each in answer.json()["paths"].items() for method in each}
    assert served == {(each.method, each.path) for each in live.operations}


async def test_health_waits_for_no_connection_that_requests_hold(fresh_database: str, ports: Ports) -> None:
    database = Database(fresh_database, min_size=1, max_size=1)
    await database.open()
    try:
        probe = Probe(replace(ports, database=database))
        async with database.acquire():
            assert set(await asyncio.gather(*(probe.database() for _ in range(100)))) == {True}
            assert await probe.queue() == "no_worker"
            schema = await probe.schema()
            assert schema is not None
            assert schema.revision == head()
    finally:
        await database.close()
    assert await probe.database() is False


async def test_simultaneous_looks_at_readiness_ask_the_store_once(
    ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = list[str](), ports.store.head

    async def note(key: str) -> ObjectInfo:
        asked.append(key)
        return await ask(key)

    monkeypatch.setattr(ports.store, "head", note)
    probe = Probe(ports)
    answers = await asyncio.gather(*(probe.readiness() for _ in range(100)))
    assert {each.body.store for each in answers} == {"connected"}
    assert len(asked) == 1
    await probe.readiness()
    assert len(asked) == 2, "a later look is a new one"


async def test_health_knows_at_once_that_the_database_is_back(fresh_database: str, ports: Ports) -> None:
    """The connection that it kept is dead; a new one is not. When it learns of that is up to the network."""
    database = Database(fresh_database, min_size=1, max_size=1)
    await database.open()
    other = await asyncpg.connect(fresh_database)
    try:
        probe = Probe(replace(ports, database=database))
        for _ in range(20):
            assert await probe.database() is True
            ended = await other.fetchval(END_OTHERS)
            assert ended == 1
            assert await probe.database() is True
    finally:
        await other.close()
        await database.close()
