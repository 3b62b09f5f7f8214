"""The streams of a child: nothing that the child leaves behind keeps our ends open."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import psutil
import uvloop

from lapel.foundation.workers.piped_child import DirectChild, PipedChild
from tests.support.patience import patience

# The grandchild holds the child's ends of the streams, and reads nothing.
_WITH_GRANDCHILD = """
import subprocess, sys, time
print(subprocess.Popen((sys.executable, "-c", "import time; time.sleep(600)")).pid, flush=True)
time.sleep(600)
"""
_UNSENT = 10 * 1024 * 1024


def _started(code: str) -> PipedChild:
    return PipedChild(
        lambda streams, errors: DirectChild(
            subprocess.Popen((sys.executable, "-c", code), stdin=streams, stdout=streams, stderr=errors)
        )
    )


async def _leaves_nothing_open() -> None:
    before = psutil.Process().num_fds()
    child = _started(_WITH_GRANDCHILD)
    await child.connected()
    grandchild = int(await child.stdout.readline())
    try:
        child.stdin.write(b"x" * _UNSENT)
        child.send_signal(signal.SIGKILL)
        await child.wait()
        await child.close()
        async with patience(30):
            while psutil.Process().num_fds() > before:  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(0.01)
        assert psutil.pid_exists(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_a_grandchild_that_reads_nothing_keeps_no_descriptor_open() -> None:
    await _leaves_nothing_open()


async def test_under_uvloop_too() -> None:
    async def after_another() -> None:
        # What uvloop opens for its first streams stays open.
        child = _started("")
        await child.connected()
        await child.wait()
        await child.close()
        await _leaves_nothing_open()

    await asyncio.to_thread(uvloop.run, after_another())
