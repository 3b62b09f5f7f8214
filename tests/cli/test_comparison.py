"""What a restore refuses: an index that is not readable, or not what the database promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lapel.cli.backup.archive import Archive, Entry
from lapel.cli.backup.comparison import compare
from lapel.cli.shared import queries
from lapel.cli.shared.faults import CommandError
from lapel.foundation.ports import Ports
from tests.recordings.support import Device, sha256
from tests.support.tenants import Tenant

CONTENT = b"promised" * 200


@dataclass(frozen=True)
class Promise:
    """An object that the database promises, and how many others it promises."""

    entry: Entry
    others: int


@pytest.fixture
async def promise(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Promise:
    async with ports.database.acquire() as connection:
        others = await queries.count_promised(connection)
        _, media_id = await Device(client, tenant, tenant.headers).upload(CONTENT)
        key = await connection.fetchval("SELECT object_key FROM media WHERE id = $1", media_id)
    return Promise(Entry(key, len(CONTENT), sha256(CONTENT), "audio/opus"), others)


async def test_a_backup_that_is_what_the_database_promises_is_taken(promise: Promise, ports: Ports) -> None:
    staged = Entry("staging/a/b/c/d", 1, "0" * 64, "audio/opus")
    await compare(ports.settings, [staged, promise.entry], promise.others)


@pytest.mark.parametrize("changed", [{"sha256": sha256(b"other")}, {"size": 1}])
async def test_an_object_that_was_exchanged_with_its_line_is_refused(
    promise: Promise, ports: Ports, changed: dict[str, Any]
) -> None:
    entry = msgspec.structs.replace(promise.entry, **changed)
    with pytest.raises(CommandError, match=r"was changed: objects\.jsonl lists"):
        await compare(ports.settings, [entry], promise.others)


async def test_a_line_that_was_removed_is_missed(promise: Promise, ports: Ports) -> None:
    with pytest.raises(CommandError, match="lacks 1 objects"):
        await compare(ports.settings, [], promise.others)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda line: line.replace(b"audio/opus", b"audio/opus\\r\\nx-amz-acl: public-read"),
            "line 2 .* content type",
        ),
        (lambda line: line.replace(b"audio/opus", "audio/\u0416".encode()), "line 2 .* content type"),
        (lambda line: line.replace(b"media/", b"../"), "tampered"),
        (lambda line: line[:-2], "line 2 .* cannot be read"),
        (lambda line: line.replace(b"audio", b"\xff"), "line 2 .* cannot be read"),
    ],
)
def test_a_line_that_no_backup_writes_is_an_error_that_names_it(
    tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    line = msgspec.json.encode(Entry("media/p/r/m/a/audio.opus", 1, "0" * 64, "audio/opus"))
    archive = Archive(tmp_path)
    archive.index.write_bytes(line + b"\n" + spoil(line) + b"\n")
    with pytest.raises(CommandError, match=message):
        list(archive.entries())


def test_without_its_index_there_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"objects\.jsonl is missing"):
        list(Archive(tmp_path).entries())
