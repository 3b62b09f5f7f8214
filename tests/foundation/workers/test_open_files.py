"""A process that has used up its file descriptors says so, and what to raise."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest
from structlog.testing import capture_logs

from lapel.foundation.workers import open_files

QUICK = 0.001


async def lines(seconds: float, between: float = 60.0) -> list[str]:
    """The remedies that are logged within some seconds."""
    with capture_logs() as logged:
        watching = asyncio.create_task(open_files.watch_limit(look=QUICK, between=between))
        await asyncio.sleep(seconds)
        watching.cancel()
    assert {each["event"] for each in logged} <= {"process.open_files_used_up"}
    return [each["remedy"] for each in logged]


@pytest.mark.parametrize(
    ("fault", "named"), [(errno.EMFILE, "LimitNOFILE"), (errno.ENFILE, "fs.file-max"), (errno.EBADF, None)]
)
async def test_without_a_descriptor_it_says_once_what_to_raise(
    monkeypatch: pytest.MonkeyPatch, fault: int, named: str | None
) -> None:
    def none_left(_: int) -> int:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "dup", none_left)
    told = await lines(0.05)
    assert len(told) == (0 if named is None else 1)
    assert all(named in each for each in told if named)


async def test_it_says_so_again_after_a_while_and_only_while_there_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await lines(0.02) == []
    real = os.dup
    opened = [real(2) for _ in range(5)]
    try:
        limit = max(opened) + 4
        monkeypatch.setattr(open_files.resource, "getrlimit", lambda _: (limit, limit))
        assert len(await lines(0.1, between=0.01)) > 1
    finally:
        for each in opened:
            os.close(each)
