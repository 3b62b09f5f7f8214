"""`lapel signing-keys`, as the operator calls it, and what `lapel doctor` says about these keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from lapel.cli.doctor.secret_checks import signing_keys
from lapel.cli.secrets import secret_commands
from lapel.cli.shared.faults import CommandError
from lapel.cli.signing_keys import signing_key_commands
from lapel.foundation import telemetry
from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.identity.seal import sealer
from lapel.foundation.ports import open_ports
from lapel.slices.encrypted_uploads.documents import signatures
from lapel.slices.projects.service import Projects
from tests.support.running import settings_for

SECRET, NEXT = "a-secret-for-tests-that-is-long-enough", "another-secret-that-is-long-enough"
Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands run in this process, and do not set up its logs."""
    monkeypatch.setattr(telemetry, "configure", lambda *_: None)


@pytest.fixture
async def place(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installation on a database of the test's own, with one project; its id."""
    monkeypatch.setenv("LAPEL_DATABASE_URL", fresh_database)
    monkeypatch.setenv("LAPEL_SECRET", SECRET)
    monkeypatch.setenv("LAPEL_DATA_DIR", str(tmp_path / "data"))
    async with open_ports(settings_for(tmp_path / "data", fresh_database, 9)) as ports:
        return (await Projects(ports).create("Acme")).id


@pytest.fixture
def call(place: str, capsys: pytest.CaptureFixture[str]) -> Call:
    """A command in this process: what it prints, decoded unless it is for people."""

    async def calling(command: Callable[..., None], **flags: Any) -> Any:
        # In a thread, for it has an event loop of its own.
        await asyncio.to_thread(command, **flags)
        printed = capsys.readouterr().out
        return json.loads(printed) if flags.get("json") else printed

    return calling


async def test_a_key_is_prepared_rotated_and_listed(call: Call, place: str) -> None:
    assert (await call(signing_key_commands.list_, json=True)) == {"data": []}
    first = await call(signing_key_commands.rotate, json=True)
    assert (first["key_id"], first["state"], first["readable"]) == (1, "active", True)
    second = await call(signing_key_commands.prepare, json=True)
    assert (second["key_id"], second["state"], second["activated_at"]) == (2, "prepared", None)
    rotated = await call(signing_key_commands.rotate, json=True, project=place)
    assert rotated == second | {"state": "active", "activated_at": rotated["activated_at"]}
    listed = (await call(signing_key_commands.list_, json=True))["data"]
    assert [(each["key_id"], each["state"], each["readable"]) for each in listed] == [
        (1, "retired", None),
        (2, "active", True),
    ]
    for each in listed:
        key = signatures.public_key_of_raw(bytes.fromhex(each["public_key"]))
        assert load_pem_public_key(each["public_key_pem"].encode()) == key
        assert set(each) == set(first)


async def test_people_and_programs_read_public_keys(call: Call, place: str) -> None:
    said = await call(signing_key_commands.prepare)
    assert said.startswith(f"Key 1 of {place} signs from now on.\nPublic key  ")
    public = said.split()[-1]
    assert "signs after the next rotation" in await call(signing_key_commands.prepare)
    assert public in await call(signing_key_commands.list_)
    pem = await call(signing_key_commands.list_, pem=True)
    assert pem.count("-----BEGIN PUBLIC KEY-----") == 2
    assert pem.startswith(f"# key 1 of {place}, active\n")
    # The line before the key is skipped.
    key = load_pem_public_key(pem.encode())
    assert key == signatures.public_key_of_raw(bytes.fromhex(public))
    with pytest.raises(CommandError, match="--pem or --json"):
        await call(signing_key_commands.list_, pem=True, json=True)


async def test_the_project_is_named_when_there_are_several(
    call: Call, place: str, fresh_database: str, tmp_path: Path
) -> None:
    await call(signing_key_commands.rotate)
    async with open_ports(settings_for(tmp_path / "data", fresh_database, 9)) as ports:
        other = (await Projects(ports).create("Other")).id
    with pytest.raises(Conflict, match="--project"):
        await call(signing_key_commands.rotate)
    with pytest.raises(NotFound):
        await call(signing_key_commands.rotate, project="proj_none")
    with pytest.raises(NotFound):
        await call(signing_key_commands.list_, project="proj_none")
    await call(signing_key_commands.rotate, project=other)
    listed = (await call(signing_key_commands.list_, json=True))["data"]
    assert [(each["project_id"], each["key_id"]) for each in listed] == [(place, 1), (other, 1)]
    assert len((await call(signing_key_commands.list_, json=True, project=other))["data"]) == 1


async def test_keys_of_another_secret_are_told_and_sealed_again(
    call: Call, place: str, fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(secret: str, previous: str | None = None) -> list[tuple[str, str]]:
        async with (
            open_ports(settings_for(tmp_path / "data", fresh_database, 9)) as ports,
            ports.database.acquire() as connection,
        ):
            told = signing_keys(connection, sealer(secret, previous))
            return [(each.state, each.detail) async for each in told]

    assert await found(SECRET) == []
    await call(signing_key_commands.rotate)
    assert await found(SECRET) == await found(NEXT, SECRET) == [("ok", "keys that can be read: 1")]
    lost = [("broken", f"keys sealed under another secret: 1 of {place}")]
    assert await found(NEXT) == lost
    monkeypatch.setenv("LAPEL_SECRET", NEXT)
    assert "active, unreadable" in await call(signing_key_commands.list_)
    monkeypatch.setenv("LAPEL_SECRET_PREVIOUS", SECRET)
    done = await call(secret_commands.reseal, json=True)
    assert done["sealed"]["signing keys"] == {"resealed": 1, "unreadable": 0}
    assert await found(NEXT) == [("ok", "keys that can be read: 1")]
    assert await found(SECRET) == lost
