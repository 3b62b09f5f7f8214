"""A body is on the disk when it is answered, also if the disk fails while more bytes come."""

import errno
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from lapel.embedded.s3.endpoint import create_store_app
from lapel.embedded.s3.protocol import body
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.presign import Presigner

MIB = 1 << 20


async def put(folder: Path, content: bytes) -> int:
    """The status of a PUT into a new store, piece by piece."""
    store = create_store_app(folder, {"key": "secret"}, clock=SystemClock(), buckets=["recordings"])
    signer = Presigner(
        "http://store", region="us-east-1", bucket="recordings",
        credentials=StaticCredentials(Credentials("key", "secret")),
    )  # fmt: skip
    link = signer.put_url("k", now=datetime.now(UTC), expires_in=60, content_type="audio/ogg")

    async def pieces() -> AsyncGenerator[bytes]:
        for at in range(0, len(content), MIB):
            yield content[at : at + MIB]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(store)) as client:
        return (await client.put(link.url, content=pieces(), headers=link.headers)).status_code


@pytest.mark.parametrize("failing", [None, 1, 3])
async def test_the_disk_writes_while_more_comes(
    failing: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == failing:
            raise OSError(errno.EIO, "the disk fails, and tells it once")

    monkeypatch.setattr(body, "_SYNC", 2 * MIB)
    monkeypatch.setattr(body, "sync_file", sync)
    assert await put(tmp_path, bytes(7 * MIB + 1)) == (200 if failing is None else 500)
    stored = [path.name for path in (tmp_path / "recordings").rglob("*") if path.suffix in {".o", ".tmp"}]
    assert stored == (["k.o"] if failing is None else [])
    assert len(syncs) == (failing or 3)
