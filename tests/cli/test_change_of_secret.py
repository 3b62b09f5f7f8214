"""The secret is changed on two machines that serve meanwhile, again and again: no key is refused anywhere."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.secret_checks import check_secret, earlier_secrets
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted
from lapel.slices.webhooks import queries, signing_secrets
from tests.support.client import api_client
from tests.support.running import Running, running, settings_for
from tests.support.serving import run
from tests.support.tenants import bearer

# The secrets of the first, second, third and fourth time.
FIRST, SECOND, THIRD, FOURTH = (each * 40 for each in "abcd")
# What each of the two machines loads: its present secret, and another one that it accepts.
Loaded = tuple[str, str | None]


def change(old: str, new: str) -> list[tuple[Loaded, Loaded]]:
    """The order of docs/operations.md: every machine accepts the new secret before one makes keys with it."""
    return [
        ((old, None), (old, None)),
        ((old, new), (old, None)),
        ((old, new), (old, new)),
        ((new, old), (old, new)),
        ((new, old), (new, old)),
    ]


class Machines:
    """Two machines on one database. `keys`: every key and token that they have made."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.database = folder, database
        self.keys: list[str] = []

    @asynccontextmanager
    async def serving(self, number: int, secret: str, other: str | None) -> AsyncGenerator[Running]:
        more = {"LAPEL_SECRET": secret, "LAPEL_SECRET_PREVIOUS": other or ""}
        folder = self.folder / f"machine-{number}"
        await asyncio.to_thread(check_secret, settings_for(folder, self.database, 1, **more))
        async with running(folder, self.database, clock=None, **more) as live:
            yield live

    async def begin(self, secret: str) -> None:
        """The first key of the installation."""
        env = {"LAPEL_DATABASE_URL": self.database, "LAPEL_SECRET": secret}
        env |= {"LAPEL_S3_ENDPOINT": "http://127.0.0.1:1", "LAPEL_S3_ACCESS_KEY_ID": "a"}
        env |= {"LAPEL_S3_SECRET_ACCESS_KEY": "s", "LAPEL_DATA_DIR": str(self.folder)}
        await asyncio.to_thread(run, "projects", "create", "clinic", env=env)
        made = await asyncio.to_thread(run, "keys", "create", "--mode", "test", "--json", env=env)
        self.keys.append(json.loads(made.stdout)["key"])

    async def are(self, loaded: tuple[Loaded, Loaded]) -> None:
        """Both serve with these secrets. Each makes keys, and both accept every key there is."""
        first, second = loaded
        async with self.serving(1, *first) as one, self.serving(2, *second) as two:
            for live in (one, two):
                await self._make(live)
            for live in (one, two):
                async with api_client(live.url) as client:
                    for key in self.keys:
                        answer = await client.get("/v1/recordings", headers=bearer(key))
                        assert answer.status_code != 401, (loaded, live.url, key)

    async def _make(self, live: Running) -> None:
        """A key, an end user's token and a device's token of this machine."""
        async with api_client(live.url) as client:
            master = bearer(self.keys[0])

            async def post(path: str, body: dict[str, object]) -> httpx.Response:
                answer = await client.post(f"/v1{path}", json=body, headers=master)
                assert answer.status_code in (200, 201), answer.text
                return answer

            person = (await post("/end-users", {})).json()["id"]
            device = await post("/devices", {"serial_number": f"SN-{len(self.keys):04}", "model": "wear_1"})
            bound = await post(f"/devices/{device.json()['id']}/bind", {"end_user_id": person})
            token = await post(f"/end-users/{person}/token", {})
            key = await post("/api-keys", {"name": "k", "scopes": ["recordings:read"]})
            made = [
                re.search(r'"((?:dtok|eut|rk)_[A-Za-z0-9_]{30,})"', each.text) for each in (bound, token, key)
            ]
        for each in made:
            assert each is not None
            self.keys.append(each[1])


@pytest.fixture
def machines(quick_folder: Path, fresh_database: str) -> Machines:
    return Machines(quick_folder, fresh_database)


@asynccontextmanager
async def ports_with(machines: Machines, secret: str, other: str | None) -> AsyncGenerator[Ports]:
    settings = settings_for(machines.folder / "command", machines.database, 1)
    async with open_ports(replace(settings, secret=secret, secret_previous=other)) as ports:
        yield ports


def resealed(machines: Machines, secret: str, other: str) -> dict[str, dict[str, int]]:
    env = {"LAPEL_DATABASE_URL": machines.database, "LAPEL_SECRET": secret, "LAPEL_SECRET_PREVIOUS": other}
    env |= {"LAPEL_S3_ENDPOINT": "http://127.0.0.1:1", "LAPEL_S3_ACCESS_KEY_ID": "a"}
    env |= {"LAPEL_S3_SECRET_ACCESS_KEY": "s", "LAPEL_DATA_DIR": str(machines.folder)}
    done = run("secrets", "reseal", "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["sealed"]


async def told(machines: Machines, secret: str, other: str | None) -> list[Finding]:
    async with ports_with(machines, secret, other) as ports, ports.database.acquire() as connection:
        return [each async for each in earlier_secrets(connection, ports.settings)]


async def test_no_key_is_refused_in_any_step_of_a_change(machines: Machines) -> None:
    await machines.begin(FIRST)
    for step in change(FIRST, SECOND):
        await machines.are(step)


@pytest.mark.deep
async def test_keys_and_what_is_sealed_outlive_three_changes(machines: Machines) -> None:
    await machines.begin(FIRST)
    await machines.are(((FIRST, None), (FIRST, None)))
    async with ports_with(machines, FIRST, None) as ports, ports.database.transaction() as connection:
        world: int = await connection.fetchval("SELECT id FROM worlds WHERE mode = 'test'")
        for webhook in ("wh_1", "wh_2"):
            sealed = signing_secrets.sealed(ports.sealer, world, webhook, "whsec_a")
            about = ("https://example.com", ["*"], (None, "{}"), sealed, ports.clock.now(), "key_1")
            await queries.insert(connection, world, webhook, *about)
        await connection.execute(
            "UPDATE webhooks SET sealed_previous_secret = sealed_secret, previous_secret_until = now()"
            " WHERE id = 'wh_2'"
        )
    async with ports_with(machines, FIRST, None) as ports:
        await OperatorProviders(ports, mode="test").set("openai", Wanted(key="sk-model"))
    for old, new in ((FIRST, SECOND), (SECOND, THIRD), (THIRD, FOURTH)):
        await machines.are(((old, new), (old, new)))
        await machines.are(((new, old), (new, old)))
        (sealed_told, keys_told) = await told(machines, new, old)
        assert (sealed_told.state, sealed_told.detail) == ("warning", "sealed under the previous secret: 4")
        assert (keys_told.state, "without a kept pepper: 0" in keys_told.detail) == ("ok", True)
        done = await asyncio.to_thread(resealed, machines, new, old)
        assert done["secrets of webhooks"] == {"resealed": 3, "unreadable": 0}
        assert done["provider keys"] == {"resealed": 1, "unreadable": 0}
        assert [each.part for each in await told(machines, new, None)] == ["keys and tokens"]
        again = await asyncio.to_thread(resealed, machines, new, old)
        assert {each["resealed"] for each in again.values()} == {0}
    await machines.are(((FOURTH, None), (FOURTH, None)))
    async with ports_with(machines, FOURTH, None) as ports, ports.database.acquire() as connection:
        rows = [row async for batch in queries.walk_sealed(connection, 100) for row in batch]
        assert len(rows) == 2
        for row in rows:
            for each in filter(None, (row.sealed_secret, row.sealed_previous_secret)):
                assert signing_secrets.opened(ports.sealer, row.world_id, row.id, each) == "whsec_a"
        choice = await OperatorProviders(ports, mode="test").choice("openai")
        assert choice.key == "sk-model"


async def test_a_key_whose_secret_was_never_kept_is_counted(machines: Machines) -> None:
    """As if it was made before peppers were kept, and the secret changed twice since."""
    await machines.begin(FIRST)
    async with ports_with(machines, SECOND, None) as ports, ports.database.acquire() as connection:
        await connection.execute("DELETE FROM token_peppers")
    (finding,) = await told(machines, THIRD, SECOND)
    assert (finding.state, "without a kept pepper: 1" in finding.detail) == ("warning", True)


async def test_keys_that_would_end_with_the_previous_secret_are_counted_until_they_are_resealed(
    machines: Machines,
) -> None:
    """A late machine that starts again seals the kept peppers under the former secret."""
    await machines.begin(FIRST)
    for secret, other in ((FIRST, SECOND), (SECOND, FIRST), (FIRST, SECOND)):
        more = {"LAPEL_SECRET": secret, "LAPEL_SECRET_PREVIOUS": other}
        await asyncio.to_thread(check_secret, settings_for(machines.folder, machines.database, 1, **more))
    (finding,) = await told(machines, SECOND, FIRST)
    assert finding.state == "warning"
    assert finding.detail == (
        "made under earlier secrets: 1; of these, only the previous secret still serves: 1; without a kept "
        "pepper: 0"
    )
    assert "`lapel secrets reseal`" in (finding.remedy or "")
    assert "keep LAPEL_SECRET_PREVIOUS" in (finding.remedy or "")
    (alone,) = await told(machines, SECOND, None)
    assert "without a kept pepper: 1" in alone.detail, "so it is true"
    await asyncio.to_thread(resealed, machines, SECOND, FIRST)
    for other in (FIRST, None):
        (finding,) = await told(machines, SECOND, other)
        assert (finding.state, finding.remedy) == ("ok", None)
        assert "serves: 0; without a kept pepper: 0" in finding.detail
