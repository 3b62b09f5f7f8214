"""Random SIGKILLs of API, worker, store and PostgreSQL under load: no promise is broken.

LAPEL_FAULT_KILLS says how many (`make test-deep`: 2,000; without it, none), LAPEL_FAULT_TREES on how many
servers side by side (`make test-deep`: 2). LAPEL_FAULT_SEED repeats the choices of the run that printed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.ports import open_ports
from lapel.hosting.data_folder import store_credentials
from lapel.settings import Settings
from tests.faults.conclude import conclude
from tests.faults.journal import Journal, read
from tests.faults.lives import INLINE_BYTES
from tests.faults.load import Load
from tests.faults.stubborn import Stubborn
from tests.faults.tree import ROLES, Role, Run, ServeTree
from tests.support.client import api_client
from tests.support.patience import patience
from tests.support.running import running, settings_for
from tests.support.tenants import Tenant, make_tenant

pytestmark = pytest.mark.deep

TREES = int(os.environ.get("LAPEL_FAULT_TREES", "1"))
# Of each tree.
KILLS = int(os.environ.get("LAPEL_FAULT_KILLS", "15")) // TREES
SEED = os.environ.get("LAPEL_FAULT_SEED") or secrets.token_hex(4)
CLIENTS = 6
# Seconds between two kills.
PAUSE = (0.1, 0.5)
# Three of four kills wait until a client has heard something since the last one, or they would only hit
# what is still starting; all of them together wait so many seconds at most.
PATIENCE = 0.15 * KILLS
# A process takes seconds to start, so kills as quick as these can keep all processes starting for ever. After
# STARVED seconds without an answer no process is killed until there is one, for RESTS seconds at most.
STARVED, RESTS = 10.0, 100.0
# As if all of it were one machine's: the tests' own server reads what `lapel serve` wrote.
SECRET = "the-secret-of-a-tree-that-is-killed-all-the-time"


def store_keys() -> dict[str, str]:
    """The embedded store's keys, as the tree derives them."""
    key_id, key = store_credentials(SECRET)
    return {"LAPEL_SECRET": SECRET, "LAPEL_S3_ACCESS_KEY_ID": key_id, "LAPEL_S3_SECRET_ACCESS_KEY": key}


async def torment(tree: ServeTree, random: Random, kills: int, answers: Callable[[], int]) -> Counter[str]:
    """Kill so many processes, one at a time, wherever they are. `answers`: how many clients have got."""
    killed: Counter[str] = Counter()
    budget = PATIENCE
    heard, heard_at = 0, time.monotonic()
    while (left := kills - killed.total()) > 0:
        if answers() == heard and time.monotonic() - heard_at > STARVED:
            await one_more(answers, RESTS)
            assert answers() > heard, f"nothing was killed for {RESTS} s, and nobody was answered"
        if answers() > heard:
            heard, heard_at = answers(), time.monotonic()
        role: Role = random.choice(ROLES)
        which, pause, at_once = random.random(), random.uniform(*PAUSE), random.random() < 0.25
        if not at_once:
            budget -= await one_more(answers, 2 * budget / left)
        async with patience(60):
            while not (alive := tree.pids()[role]):  # noqa: ASYNC110 - the supervisor tells nobody
                await asyncio.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.kill(sorted(alive)[int(which * len(alive))], signal.SIGKILL)
        killed[role] += 1
        await asyncio.sleep(pause)
    return killed


async def one_more(answers: Callable[[], int], patience: float) -> float:
    """Wait for another answer, so many seconds at most; gives the seconds that it took."""
    began, before = time.monotonic(), answers()
    while answers() == before and time.monotonic() - began < patience:  # noqa: ASYNC110 - a counter
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def make_tenant_of(settings: Settings) -> Tenant:
    """A project on a database that some other process serves."""
    async with open_ports(settings) as ports:
        return await make_tenant(ports)


async def all_back(run: Run, tree: ServeTree) -> None:
    """Wait until everything that was killed serves again."""
    async with api_client(timeout=5) as client, patience(60):
        while True:
            try:
                answer = await client.get(f"{run.base_url}/health/ready")
                if answer.status_code == 200 and all(tree.pids().values()):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.skipif(
    "LAPEL_FAULT_KILLS" not in os.environ, reason="runs in `make test-deep`, or with LAPEL_FAULT_KILLS=15"
)
@pytest.mark.timeout(300 + 2 * KILLS)
@pytest.mark.parametrize(
    "number", [pytest.param(each, marks=pytest.mark.xdist_group(f"tree-{each}")) for each in range(TREES)]
)
async def test_no_promise_is_broken_by_any_process_dying_at_any_moment(
    number: int, quick_folder: Path, tmp_path: Path
) -> None:
    seed = f"{SEED}-{number}"
    replay = f"LAPEL_FAULT_SEED={SEED} LAPEL_FAULT_KILLS={KILLS * TREES} LAPEL_FAULT_TREES={TREES}"
    print(replay)
    tree = ServeTree(
        quick_folder / "data",
        tmp_path / "serve.log",
        {"LAPEL_INLINE_HASH_BYTES": str(INLINE_BYTES), "LAPEL_SECRET": SECRET, "LAPEL_LOG_FORMAT": "json"},
    )
    journal = Journal(tmp_path / "journal.jsonl")
    try:
        run = await tree.start()
        tenant = await make_tenant_of(settings_for(tree.data_dir, run.database_url, run.port, **store_keys()))
        async with api_client() as http:
            client = Stubborn(http, [run.base_url], journal)
            load = Load(client, tenant.test_key, seed, CLIENTS)
            stop = asyncio.Event()
            loading = asyncio.create_task(load.run(stop))
            killed = await torment(tree, Random(seed), KILLS, lambda: client.answers)
            # And all of them at once: what a killed tree left is taken over.
            tree.stop(signal.SIGKILL)
            run = await tree.start(run.port)
            stop.set()
            await loading
        await all_back(run, tree)
        print(f"killed {dict(killed)}; lived {dict(load.lived)}; repeated {client.repeats} calls")
        assert tree.stop() == 0, tree.tail()
        journal.close()
        findings = await conclude_at_rest(tree.data_dir, tenant, journal)
    finally:
        tree.end()
        journal.close()
    told = read(journal.path)
    print(f"{len(told.created)} created, {len(told.promised)} promised, {len(told.deleted)} deleted")
    assert findings == [], f"replay with {replay}; {tmp_path}"
    assert len(told.standing) >= KILLS // 10, "so little was promised that nothing is proven"


@pytest.mark.timeout(180)
async def test_a_database_that_is_killed_again_while_it_starts_comes_back(
    quick_folder: Path, tmp_path: Path
) -> None:
    tree = ServeTree(quick_folder / "data", tmp_path / "serve.log", {"LAPEL_SECRET": SECRET})
    try:
        run = await tree.start()
        killed: set[int] = set()
        async with patience(60):
            while len(killed) < 6:
                for pid in set(tree.pids()["postgres"]) - killed:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                await asyncio.sleep(0.001)
        await all_back(run, tree)
        assert tree.stop() == 0, tree.tail()
    finally:
        tree.end()


async def conclude_at_rest(data_dir: Path, tenant: Tenant, journal: Journal) -> list[object]:
    """The same folder under a server of the test's own, with nobody else working on it."""
    postgres = EmbeddedPostgres(data_dir)
    postgres.start()
    try:
        async with running(data_dir, postgres.dsn(), clock=None, **store_keys()) as live:
            return list(await conclude(live, tenant, journal))
    finally:
        postgres.stop()
