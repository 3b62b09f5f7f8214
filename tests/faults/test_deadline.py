"""A part hangs: it takes what is sent to it and answers nothing. Every request is answered 503 meanwhile.

The server of these tests gives a request half a second (upload-complete 1.25), which is shorter than every
other time-out that a request may meet. An answer that says so is due to that limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.support.client import api_client
from tests.support.patience import LONG, patience
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_tenant

CONTENT = b"what was said"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def is_late(answer: httpx.Response) -> bool:
    """503 because the time was over, with a time to come back."""
    error = answer.json()["error"]
    assert int(answer.headers["retry-after"]) >= 1
    return (answer.status_code, error["code"]) == (503, "unavailable") and "took too long" in error["message"]


class Owner:
    """A project with a bound device and a recording whose upload is not completed."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.headers = bearer(tenant.test_key)
        self.device = self.device_token = self.recording = ""

    async def post(self, path: str, body: object = None, expect: int = 201) -> dict[str, Any]:
        """The decoded answer."""
        answer = await self.client.post(f"/v1{path}", json=body or {}, headers=self.headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    async def prepare(self) -> None:
        """Make all of it."""
        end_user = (await self.post("/end-users"))["id"]
        self.device = (await self.post("/devices", {"serial_number": "LATE0001"}))["id"]
        bound = await self.post(f"/devices/{self.device}/bind", {"end_user_id": end_user}, 200)
        self.device_token = bound["device_token"]
        self.recording = (await self.post("/recordings", {"end_user_id": end_user}))["id"]
        link = await self.post(f"/recordings/{self.recording}/upload-url", expect=200)
        stored = await self.client.put(link["upload_url"], content=CONTENT, headers=link["headers"])
        assert stored.status_code == 200

    def of_each_class(self) -> dict[str, httpx.Request]:
        """One request for each way in which requests use the database or the store."""
        device = bearer(self.device_token)
        once = self.headers | {"Idempotency-Key": "the-same-again"}
        recording, new = f"/v1/recordings/{self.recording}", {"external_id": "of-the-hang"}
        build = self.client.build_request
        return {
            "read": build("GET", recording, headers=self.headers),
            "stored": build("POST", "/v1/end-users", json=new, headers=once),
            "change": build("PATCH", f"/v1/devices/{self.device}", json={"name": "x"}, headers=self.headers),
            "delete": build("DELETE", recording, headers=self.headers),
            "device": build("POST", "/v1/devices/me/heartbeat", json={}, headers=device),
            "examination": build("POST", f"{recording}/upload-complete", json={}, headers=self.headers),
            "form": self.firmware(),
        }

    def firmware(self) -> httpx.Request:
        """An upload of firmware."""
        fields, files = {"model": "bota_pin", "version": "1.0"}, {"bin": ("a.bin", b"firmware")}
        return self.client.build_request(
            "POST", "/v1/firmware-releases", data=fields, files=files, headers=self.headers
        )


@asynccontextmanager
async def owner_at(live: Running) -> AsyncGenerator[Owner]:
    """A project on a server that has all the time it needs."""
    async with api_client(live.url) as client:
        owner = Owner(client, await make_tenant(live.ports))
        await owner.prepare()
        yield owner


@asynccontextmanager
async def hasty(owner: Owner, data_dir: Path, database: str, **more: str) -> AsyncGenerator[Owner]:
    """The same project at another server, which gives a request half a second."""
    async with (
        running(data_dir, database, clock=None, LAPEL_ANSWER_TIMEOUT="0.5", **more) as live,
        api_client(live.url) as client,
    ):
        there = Owner(client, Tenant("", 0, 0, "", owner.headers["Authorization"].removeprefix("Bearer ")))
        there.device, there.device_token = owner.device, owner.device_token
        there.recording = owner.recording
        yield there


@contextlib.contextmanager
def stopped(server: EmbeddedPostgres) -> Generator[None]:
    """None of its processes runs until the block ends; their sockets take what is sent to them."""
    first = psutil.Process(server.pid)
    first.suspend()  # it can start no other
    processes = [first, *first.children(recursive=True)]
    try:
        for each in processes:
            each.suspend()
        yield
    finally:
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGCONT)


@asynccontextmanager
async def silent_server() -> AsyncGenerator[tuple[int, list[socket.socket]]]:
    """A server that accepts connections and never reads or answers: its port, and its connections.

    asyncio's own server would leak a connection that it accepts in the moment in which it is closed.
    """

    async def accept() -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                connections.append(listener.accept()[0])
            await asyncio.sleep(0.01)

    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(accept())
        try:
            yield listener.getsockname()[1], connections
        finally:
            accepting.cancel()
            for each in connections:
                each.close()


async def test_while_the_database_hangs_every_request_is_answered_in_time(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    database = own_postgres.dsn()
    async with (
        running(tmp_path, database, clock=None) as live,
        owner_at(live) as owner,
        hasty(owner, tmp_path, database) as there,
    ):
        requests = there.of_each_class()
        with stopped(own_postgres):
            answers = await asyncio.gather(*(there.client.send(each) for each in requests.values()))
            late = {kind: is_late(answer) for kind, answer in zip(requests, answers, strict=True)}
            assert late == dict.fromkeys(requests, True)
        listed = await owner.client.get("/v1/end-users", headers=owner.headers)
        assert [each["external_id"] for each in listed.json()["data"]] == [None]
        again = owner.of_each_class()
        made = await owner.client.send(again["stored"])
        assert made.status_code in (201, 409), made.text  # 409: the first is being rolled back
        completed = await owner.client.send(again["examination"])
        assert completed.status_code == 200, completed.text


async def test_a_request_that_waits_for_a_lock_is_answered_and_leaves_nothing(
    fresh_database: str, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, fresh_database, clock=None) as live,
        owner_at(live) as owner,
        hasty(owner, tmp_path, fresh_database) as there,
    ):
        holder = await asyncpg.connect(fresh_database)
        watching = await asyncpg.connect(fresh_database)
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT 1 FROM devices WHERE id = $1 FOR UPDATE", there.device)
        path = f"/v1/devices/{there.device}"
        command = {"type": "start_recording"}
        changed, told = await asyncio.gather(
            there.client.patch(path, json={"name": "late"}, headers=there.headers),
            there.client.post(f"{path}/commands", json=command, headers=there.headers),
        )
        assert is_late(changed), changed.text
        assert is_late(told), told.text
        while await watching.fetchval(WAITING):  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
        await held.rollback()
        await holder.close()
        await watching.close()
        shown = await owner.client.get(path, headers=owner.headers)
        assert shown.json()["name"] != "late"
        listed = await owner.client.get(f"{path}/commands", headers=owner.headers)
        assert listed.json()["data"] == []
        assert (await owner.post(f"/devices/{there.device}/commands", command))["status"] == "pending"


async def test_while_the_store_hangs_what_needs_it_is_answered_in_time(
    fresh_database: str, tmp_path: Path
) -> None:
    async with (
        running(tmp_path, fresh_database, clock=None) as live,
        owner_at(live) as owner,
        contextlib.AsyncExitStack() as silent,
    ):
        port, connections = await silent.enter_async_context(silent_server())
        endpoint = f"http://127.0.0.1:{port}"
        async with hasty(owner, tmp_path, fresh_database, LAPEL_S3_ENDPOINT=endpoint) as there:
            for kind in ("examination", "form"):
                asked = len(connections)
                while len(connections) == asked:  # a slow machine may take all the time to come so far
                    answer = await there.client.send(there.of_each_class()[kind])
                    assert is_late(answer), answer.text
            await silent.aclose()
            again = await owner.client.send(owner.of_each_class()["examination"])
            while again.status_code in (425, 503):  # the first is being given up
                await asyncio.sleep(0.1)
                again = await owner.client.send(owner.of_each_class()["examination"])
            assert (again.status_code, again.json().get("status")) == (200, "uploaded"), again.text
            released = await owner.client.send(owner.firmware())
            assert released.status_code == 201, released.text


async def test_a_probe_does_not_wait_until_a_hanging_database_gives_its_connection_back(
    own_postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load balancer and Prometheus wait for a few seconds. Here the connection comes back only later."""
    answered = asyncio.Event()
    release = asyncpg.pool.Pool.release

    async def release_later(pool: Any, connection: Any, *, timeout: float | None = None) -> None:
        await answered.wait()
        await release(pool, connection, timeout=timeout)

    async with running(tmp_path, own_postgres.dsn()) as live, api_client(live.url) as client:
        assert (await client.get("/health")).status_code == 200
        monkeypatch.setattr(asyncpg.pool.Pool, "release", release_later)
        try:
            with stopped(own_postgres):
                async with patience(LONG):
                    health = await client.get("/health")
                    ready = await client.get("/health/ready")
                    metrics = await client.get("/metrics")
        finally:
            answered.set()
    assert (health.status_code, ready.status_code) == (503, 503)
    assert ready.json()["database"] == "disconnected"
    assert "lapel_database_up 0.0" in metrics.text
