"""`lapel listen`, `lapel events tail`: as a developer runs them beside a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from standardwebhooks import Webhook

from tests.support.installation import Installation
from tests.support.patience import LONG
from tests.support.plain_http import http
from tests.support.receiver import Receiver, receiving
from tests.support.serving import Served, eventually, run, serving, told
from tests.support.warm import Warm


def make_events(served: Served, key: str, number: int) -> None:
    """New recordings, each of which is an event."""
    headers = {"Authorization": f"Bearer {key}"}
    person = http.post(f"{served.url}/v1/end-users", json={}, headers=headers).json()["id"]
    for _ in range(number):
        made = http.post(f"{served.url}/v1/recordings", json={"end_user_id": person}, headers=headers)
        assert made.status_code == 201, made.text


def listed(served: Served, key: str) -> list[str]:
    """The ids of all events, oldest first."""
    answer = http.get(f"{served.url}/v1/events?limit=100", headers={"Authorization": f"Bearer {key}"})
    return [each["id"] for each in answer.json()["data"]][::-1]


def forwarded(receiver: Receiver) -> list[str]:
    return [json.loads(body)["id"] for _, body in receiver.got]


async def forget_dead_caches(served: Served) -> None:
    """As if the server had been away for a minute: no revocation waits for the killed processes.

    Each wait takes three seconds; tests/foundation/identity/test_key_cache.py has its tests.
    """
    connection = await asyncpg.connect(served.run_file["database_url"])
    try:
        await connection.execute(
            "UPDATE key_caches SET seen_at = seen_at - interval '1 minute' WHERE seen_at < to_timestamp($1)",
            psutil.Process(served.process.pid).create_time(),
        )
    finally:
        await connection.close()


@contextlib.contextmanager
def listening(
    *flags: str, data_dir: Path, errors_to: list[str] | None = None
) -> Generator[tuple[Warm, dict[str, Any]]]:
    """`lapel listen`, ended by Ctrl-C after the block, and its first line. `errors_to` gets its stderr."""
    command = ["listen", "--json", "--data-dir", str(data_dir), *flags]
    with Warm(*command, env=os.environ) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in output + errors
        if errors_to is not None:
            errors_to.append(errors)


@pytest.mark.deep
def test_no_event_is_missed_or_repeated_when_the_server_is_killed(
    installation: Installation, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    installation.copy(data)
    with receiving() as receiver, contextlib.ExitStack() as stack:
        with serving(data) as first:
            key = told("keys", "create", "--data-dir", data)["key"]
            errors: list[str] = []
            process, begun = stack.enter_context(
                listening("--forward-to", receiver.url, data_dir=data, errors_to=errors)
            )
            assert begun["forward_to"] == receiver.url
            place = eventually(lambda: list((data / "listen").glob("*.json")))[0]
            make_events(first, key, 3)
            eventually(lambda: len(receiver.got) == 3)
            for each in psutil.Process(first.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            first.process.kill()
            first.process.wait()
        with serving(data) as second:  # on another port
            asyncio.run(forget_dead_caches(second))
            make_events(second, key, 3)
            eventually(lambda: len(receiver.got) == 6)
            made = listed(second, key)
            assert forwarded(receiver) == made
            for headers, body in receiver.got:
                Webhook(begun["secret"]).verify(body, headers)
                assert headers["x-bota-event-id"] == json.loads(body)["id"]
                assert headers["content-type"] == "application/json"
            sequences = [int(headers["x-lapel-sequence"]) for headers, _ in receiver.got]
            assert sequences == sorted(set(sequences))
            stack.close()
            outage, _, end = errors[0].partition("; connecting again.\n")
            assert outage.startswith("lapel: the stream is interrupted (")
            assert "Error" not in outage
            assert end == "lapel: connected again.\n"

            # The next run continues where this one stopped.
            make_events(second, key, 1)
            receiver.status = 500
            flags = ("--forward-to", receiver.url)
            with listening(*flags, data_dir=data) as (process, again):
                assert again["secret"] == begun["secret"]
                assert process.stdout is not None
                shown = json.loads(process.stdout.readline())
            assert (shown["status"], shown["type"], shown["error"]) == (500, "recording.created", None)
            assert forwarded(receiver)[6:] == [shown["id"]] == listed(second, key)[6:]

            # With --after, events are forwarded again.
            receiver.status = 200
            with listening(*flags, "--after", str(shown["sequence"] - 1), data_dir=data) as (process, _):
                assert process.stdout is not None
                again = json.loads(process.stdout.readline())
            assert (again["id"], again["status"]) == (shown["id"], 200)
            assert again["at"][10:11] + again["at"][19:20] + again["at"][23:] == "T.Z"

            # With --from-now, and at a place that the stream does not have, only new events are forwarded.
            make_events(second, key, 1)
            for more in (("--from-now",), ()):
                if not more:
                    text = place.read_bytes()
                    place.write_bytes(text.replace(b'"last_event_id":"', b'"last_event_id":"9'))
                before = place.stat().st_mtime_ns
                with listening(*flags, *more, data_dir=data):
                    eventually(lambda at=before: place.stat().st_mtime_ns != at)
                    count = len(receiver.got)
                    make_events(second, key, 1)
                    eventually(lambda at=count: len(receiver.got) > at)
                assert forwarded(receiver)[count:] == listed(second, key)[-1:]
            keys = told("keys", "list", "--data-dir", data)["data"]
            assert [each["revoked_at"] is not None for each in keys if each["name"] == "lapel listen"] == [
                True
            ] * 5
            tails(second, key, listed(second, key))


def test_the_place_is_kept_for_each_world_whatever_the_key(
    installation: Installation, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    installation.copy(data)
    with receiving() as receiver, serving(data) as served:
        one, another, live = (
            told("keys", "create", "--mode", mode, "--data-dir", data)["key"]
            for mode in ("test", "test", "live")
        )

        def listen(key: str) -> contextlib.AbstractContextManager[object]:
            flags = ("--forward-to", receiver.url, "--url", served.url, "--key", key)
            return listening(*flags, data_dir=tmp_path / "developer")

        def places() -> int:
            return len(list((tmp_path / "developer" / "listen").glob("*.json")))

        with listen(one):
            eventually(lambda: places() == 1)
            make_events(served, one, 1)
            eventually(lambda: len(receiver.got) == 1)
        make_events(served, one, 1)
        make_events(served, live, 3)
        with listen(another):
            eventually(lambda: len(receiver.got) == 2)
        assert forwarded(receiver) == listed(served, one)
        with listen(live):
            eventually(lambda: places() == 2)
            make_events(served, live, 1)
            eventually(lambda: len(receiver.got) == 3)
        assert forwarded(receiver)[2:] == listed(served, live)[3:]


def tails(served: Served, key: str, made: list[str]) -> None:
    """`lapel events tail` shows events from a place on, and a wrong key or type is told."""
    env = os.environ | {"LAPEL_URL": served.url, "LAPEL_KEY": key}
    with Warm("events", "tail", "--after", "0", "--types", "recording.*", "--json", env=env) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["id"] for _ in made] == made
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LONG)
    assert process.returncode == 0
    refused = run("events", "tail", "--types", "nothing.*", env={"LAPEL_URL": served.url, "LAPEL_KEY": key})
    assert refused.returncode == 1
    assert "lapel: the server refuses the stream (400): No event has the type `nothing.*`." in refused.stderr
    wrong = run("events", "tail", env={"LAPEL_URL": served.url, "LAPEL_KEY": "sk_test_nonsense"})
    assert wrong.returncode == 1
    assert "(401)" in wrong.stderr


def test_a_url_that_is_none_is_refused(tmp_path: Path) -> None:
    for url in ("localhost:4242", "ftp://localhost/", "http://", "http://user:hidden@localhost/"):
        done = run("listen", "--forward-to", url, "--data-dir", tmp_path)
        assert done.returncode == 1
        told_of = "lapel: --forward-to takes a URL such as http://localhost:4242/hooks, without a user."
        assert told_of in done.stderr
        assert "hidden" not in done.stdout + done.stderr
    done = run("listen", "--forward-to", "http://localhost:1/", "--from-now", "--after", "0")
    assert done.returncode == 1
    assert "give one" in done.stderr
    done = run("listen", "--forward-to", "http://localhost:1/", "--data-dir", tmp_path / "none")
    assert done.returncode == 1
    assert "no server runs on" in done.stderr
