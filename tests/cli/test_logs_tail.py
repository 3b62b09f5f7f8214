"""`lapel logs tail`: as a developer runs it beside a server of two API processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import Served, eventually, run, serving, told
from tests.support.warm import Warm

NAME = "lapel logs tail"


def listed(data: Path) -> list[dict[str, Any]]:
    """All keys."""
    return told("keys", "list", "--data-dir", data)["data"]


def ask(served: Served, key: str, path: str) -> str:
    """The id of a new request."""
    answer = http.get(f"{served.url}{path}", headers={"Authorization": f"Bearer {key}"})
    return answer.headers["x-request-id"]


def line_after(stream: IO[str] | None, words: str) -> str:
    """The next line that has these words."""
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"{words!r} is in no line")


@contextlib.contextmanager
def asking(served: Served, key: str, path: str) -> Generator[set[str]]:
    """Requests during the block, one after the other: the process that answers the first of them may not
    have heard of the tail yet. After the block, the set has their ids."""
    ended, made = threading.Event(), set[str]()

    def ask_again() -> None:
        while not ended.wait(0.1):
            with contextlib.suppress(httpx.HTTPError):
                made.add(ask(served, key, path))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_again)
        try:
            yield made
        finally:
            ended.set()
            asked.result()


@contextlib.contextmanager
def tailing(*flags: str, **env: str) -> Generator[Warm]:
    """`lapel logs tail` that shows requests, ended by Ctrl-C after the block."""
    with Warm("logs", "tail", *flags, env=os.environ | env) as process:
        try:
            line_after(process.stderr, "showing requests from now on")
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in output + errors


def test_requests_of_all_processes_are_shown_also_after_one_is_killed(
    installation: Installation, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    key = installation.copy(data)
    with serving(data, "--api-processes", "2") as served:
        with tailing("--data-dir", str(data), "--status", "4xx") as process:
            # Both processes answer some of these; the first ones may come before both know of the tail.
            wanted = {ask(served, key, f"/v1/devices/dev_{number}") for number in range(20)}
            ask(served, key, "/v1/devices")
            first = line_after(process.stdout, "/v1/devices/dev_")
            time, status, method, path, ms, unit, request, caller, address, error = first.split()
            assert time.endswith("Z")
            assert (status, method, unit, address, error) == ("404", "GET", "ms", "127.0.0.1", "not_found")
            assert path.startswith("/v1/devices/dev_")
            assert float(ms) > 0
            assert request in wanted
            (first_key,) = [each["id"] for each in listed(data) if each["name"] != NAME]
            assert caller == first_key
            for each in served.pids("api"):
                psutil.Process(each).kill()
            line_after(process.stderr, "connecting again")
            line_after(process.stderr, "showing requests from now on")
            eventually(lambda: served.health() == 200)
            with asking(served, key, "/v1/devices/dev_after"):
                line_after(process.stdout, "/v1/devices/dev_after")
        env = {"LAPEL_URL": served.url, "LAPEL_KEY": key}
        with tailing("--format", "json", "--path", "/v1/devices", **env) as process:
            assert process.stdout is not None
            with asking(served, key, "/v1/devices") as made:
                shown = json.loads(process.stdout.readline())["request_id"]
            assert shown in made
        refused = run("logs", "tail", "--status", "6xx", env=env)
        assert refused.returncode == 1
        assert "lapel: the server refuses the stream (400): A status is a number" in refused.stderr
        other = told("keys", "create", "--scopes", "webhooks:read", "--data-dir", data)["key"]
        refused = run("logs", "tail", env=env | {"LAPEL_KEY": other})
        assert refused.returncode == 1
        assert "(403): This key lacks the scope `audit:read`. Set LAPEL_KEY to another key" in refused.stderr
        assert [each["revoked_at"] is None for each in listed(data) if each["name"] == NAME] == [False]
