"""What commands that follow a stream share: the run until Ctrl-C, and lines for people or programs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import aiohttp
import msgspec
from cyclopts import Parameter

from lapel.cli.shared.options import emit, say

JsonLines: TypeAlias = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print one JSON document a line.")
]


def run_until_interrupted(work: Coroutine[None, None, None]) -> None:
    """Runs `work` until it ends, or until Ctrl-C or SIGTERM. Raises what `work` raises."""

    async def run() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def session() -> aiohttp.ClientSession:
    """A session that uses no proxy of the environment and keeps no cookies."""
    return aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}, cookie_jar=aiohttp.DummyCookieJar())


def lost(why: str | None) -> None:
    """Tells of an outage, or with None of its end."""
    say("connected again." if why is None else f"the stream is interrupted ({why}); connecting again.")


def line(value: msgspec.Struct, as_json: bool, text: str) -> None:
    """Prints one line at once. Raises CommandError when it cannot be written."""
    emit(value, as_json, lambda: text)


def now() -> str:
    """The time as the API writes it, for a line."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
