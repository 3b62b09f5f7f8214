"""A machine with another secret than its installation's does not start, and its secret is called that."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.secret_checks import check_secret, secrets
from lapel.cli.shared.faults import CommandError
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.projects.operator import ensure_first_key
from tests.support.running import settings_for
from tests.support.serving import run, told

if TYPE_CHECKING:
    from lapel.settings import Settings

FORMER, PRESENT, OTHER = "f" * 40, "p" * 40, "o" * 40
IS_ANOTHER = "is not the secret of this installation"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
def settings(fresh_database: str, tmp_path: Path) -> Settings:
    return settings_for(tmp_path, fresh_database, 8080)


def loading(settings: Settings, secret: str, previous: str | None = None) -> Settings:
    """The settings with these secrets."""
    return dataclasses.replace(settings, secret=secret, secret_previous=previous)


def is_accepted(settings: Settings, secret: str, previous: str | None = None) -> bool:
    said = ""
    try:
        check_secret(loading(settings, secret, previous))
    except CommandError as fault:
        said = str(fault)
    assert (IS_ANOTHER in said) == bool(said)
    assert not any(each in said for each in (FORMER, PRESENT, OTHER))
    return not said


def in_database(settings: Settings, work: Callable[[Connection], Awaitable[object]]) -> object:
    async def run_it() -> object:
        connection = await asyncpg.connect(settings.database_url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run_it())


def fingerprint(settings: Settings) -> object:
    return in_database(settings, lambda each: each.fetchval("SELECT fingerprint FROM installation_secret"))


def test_the_first_start_records_the_secret_and_another_one_is_refused(settings: Settings) -> None:
    assert is_accepted(settings, PRESENT)
    recorded = fingerprint(settings)
    assert isinstance(recorded, str)
    assert recorded not in hashlib.sha256(PRESENT.encode()).hexdigest()
    assert is_accepted(settings, PRESENT)
    assert not is_accepted(settings, OTHER)
    assert not is_accepted(settings, OTHER, FORMER)
    assert fingerprint(settings) == recorded


def test_a_change_of_the_secret_is_followed_by_machines_that_know_both(settings: Settings) -> None:
    assert is_accepted(settings, FORMER)
    assert is_accepted(settings, PRESENT, FORMER)
    assert not is_accepted(settings, FORMER)  # this machine was forgotten
    assert is_accepted(settings, FORMER, PRESENT)  # and this one is to follow
    assert is_accepted(settings, PRESENT, FORMER)
    assert is_accepted(settings, PRESENT)


def test_a_new_secret_is_accepted_when_the_operator_says_so(settings: Settings) -> None:
    assert is_accepted(settings, FORMER)
    check_secret(loading(settings, PRESENT), replaces=True)
    assert is_accepted(settings, PRESENT)
    assert not is_accepted(settings, FORMER)


@pytest.mark.parametrize("named", [True, False], ids=["keys name it", "before 0009"])
def test_an_older_installation_gets_its_fingerprint_if_the_secret_opens_what_is_there(
    settings: Settings, named: bool
) -> None:
    """Keys name their secret since schema 0009; without them, what is sealed says whose it is."""

    async def fill() -> None:
        async with open_ports(loading(settings, FORMER)) as ports:
            await ensure_first_key(ports)
            await seal_webhook(ports)
            if not named:
                async with ports.database.acquire() as connection:
                    await connection.execute("UPDATE api_keys SET secret_id = NULL")

    asyncio.run(fill())
    assert fingerprint(settings) is None
    assert not is_accepted(settings, OTHER)
    assert fingerprint(settings) is None
    assert is_accepted(settings, PRESENT, FORMER)
    assert not is_accepted(settings, FORMER)


async def seal_webhook(ports: Ports) -> None:
    """A row of a webhook whose secret is sealed for the server."""
    async with ports.database.acquire() as connection:
        world_id = await connection.fetchval("SELECT min(id) FROM worlds")
        sealed = ports.sealer.seal(b"whsec_x", f"webhook:{world_id}:wh_1".encode())
        await connection.execute(WEBHOOK, world_id, sealed)


WEBHOOK = """
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
VALUES ($1, 'wh_1', 'https://example.com', '{*}', 'enabled', $2, now(), now())
"""


def test_doctor_calls_another_secret_broken(settings: Settings) -> None:
    assert is_accepted(settings, PRESENT)
    for secret, state in ((PRESENT, "ok"), (OTHER, "broken")):
        loaded = loading(settings, secret)
        found = in_database(settings, lambda each, loaded=loaded: secrets(each, loaded))
        assert isinstance(found, Finding)
        assert found.state == state
        assert (IS_ANOTHER in found.detail) == (state == "broken")


def test_server_and_init_call_another_secret_that(fresh_database: str, tmp_path: Path) -> None:
    place = {"LAPEL_DATABASE_URL": fresh_database, "LAPEL_DATA_DIR": str(tmp_path / "data")}
    ours, other = place | {"LAPEL_SECRET": PRESENT}, place | {"LAPEL_SECRET": OTHER}
    told("init", env=ours)
    for command in (("serve", "--port", "0"), ("init",)):
        done = run(*command, env=other)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"lapel: LAPEL_SECRET {IS_ANOTHER}" in done.stderr
    told("init", "--new-secret", env=other)
    assert run("init", env=ours).returncode == 1
