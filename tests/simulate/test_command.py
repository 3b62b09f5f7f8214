"""`lapel simulate` as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import LAPEL, Served, run, serving, told
from tests.support.warm import DEVNULL, Warm

SMALL = ("--devices", "8", "--minutes", "0.05", "--speed", "100", "--seed", "5")


@pytest.fixture(scope="module")
def served(installation: Installation, module_folder: Path) -> Generator[Served]:
    installation.copy(module_folder / "data")
    with serving(module_folder / "data") as server:
        yield server


def test_it_finds_the_server_and_leaves_nothing_but_a_report(served: Served, tmp_path: Path) -> None:
    done = run("simulate", *SMALL, "--json", "--data-dir", served.data_dir, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["devices"], report["seed"], report["broken"], report["errors"]) == (8, 5, {}, {})
    assert report["uploads"]["promised"] == report["uploads"]["kept"] > 0
    assert not report["left_behind"]
    keys = told("keys", "list", "--data-dir", served.data_dir)["data"]
    made = [key for key in keys if (key["name"] or "").startswith("lapel simulate")]
    assert made
    assert all(key["revoked_at"] is not None for key in made)
    assert list(tmp_path.iterdir()) == []


def test_it_takes_an_address_and_a_key_from_the_environment(served: Served) -> None:
    key = told("keys", "create", "--data-dir", served.data_dir)["key"]
    done = run("simulate", *SMALL, "--only-heartbeats", env={"LAPEL_URL": served.url, "LAPEL_KEY": key})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ everything that was promised was kept" in done.stdout
    assert "8 devices live for 0.05 min against" in done.stderr


def test_devices_that_encrypt_find_their_keys_and_name_their_sessions(served: Served) -> None:
    done = run("simulate", *SMALL, "--encrypted", "--drop", "0.05", "--json", "--data-dir", served.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    sealed = report["sealed"]
    assert sealed["made"] == sealed["published"] + sealed["on_devices"]
    assert sealed["published"] == len(report["sessions"]) == report["uploads"]["kept"] > 0
    names = {"session_id", "owner_revision", "recording_id", "device_id", "end_user_id"}
    assert all(set(session) == names for session in report["sessions"])


def test_a_planted_loss_is_status_1(served: Served) -> None:
    """Objects that vanish while the fleet lives are lost promises."""
    command = ["simulate", *SMALL, "--json", "--data-dir", str(served.data_dir)]
    with Warm(*command, env=os.environ, stderr=DEVNULL) as process:
        ended = threading.Event()

        def thief() -> None:
            while not ended.wait(0.05):
                with contextlib.suppress(FileNotFoundError):  # what is deleted goes on the way, folders too
                    for path in served.data_dir.glob("objects/*/objects/media.d/**/*"):
                        if path.is_file() and path.stat().st_mtime < time.time() - 0.5:
                            path.unlink()

        thread = threading.Thread(target=thief)
        thread.start()
        try:
            output, _ = process.communicate(timeout=100)
        finally:
            ended.set()
            thread.join()
    assert process.returncode == 1
    report = json.loads(output)
    assert report["uploads"]["lost"] > 0
    assert report["broken"]["lost"] == report["uploads"]["lost"]


def test_ctrl_c_ends_it_early_with_the_report(served: Served) -> None:
    command = [*LAPEL, "simulate", "--devices", "5", "--speed", "60", "--data-dir", str(served.data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        assert "5 devices live" in process.stderr.readline()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert ", ended early" in output
    assert "Traceback" not in errors


def test_a_second_ctrl_c_skips_the_report_and_still_removes_everything(served: Served) -> None:
    command = ["simulate", "--speed", "60", "--data-dir", str(served.data_dir)]
    with Warm(*command, env=os.environ) as process:
        assert process.stderr is not None
        assert "20 devices live" in process.stderr.readline()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode in (130, 0), errors  # 0: on a busy machine, both may arrive as one
    assert (output == "") == (process.returncode == 130)
    assert "Traceback" not in errors
    key = told("keys", "create", "--data-dir", served.data_dir)["key"]
    answer = http.get(f"{served.url}/v1/devices", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["data"] == []


def test_the_dashboard_draws_on_a_terminal(served: Served) -> None:
    main, side = os.openpty()
    command = ["simulate", *SMALL, "--data-dir", str(served.data_dir)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
    with Warm(*command, env=environment, stderr=side) as process:
        os.close(side)
        drawn = bytearray()
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # what Linux says at the end of a terminal
                break
            if not piece:
                break
            drawn += piece
        output, _ = process.communicate(timeout=60)
    os.close(main)
    assert process.returncode == 0, output
    for word in ("lapel simulate", "8 devices", "a second", "p99 ms", "heartbeat", "living", "repeated"):
        assert word in drawn.decode(), word
    assert "Heartbeats" in output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--drop", "1"), "--drop 1 is not between 0 and 0.9."),
        (("--devices", "0"), "--devices 0 is not between 1 and 1e+06."),
        (("--minutes", "nan"), "--minutes nan is not between"),
        (("--url", "http://127.0.0.1:1"), "--url and --key"),
        (("--url", "http://me:secret@127.0.0.1:1", "--key", "x"), "--url takes a base URL"),
        (("--url", "127.0.0.1:1", "--key", "x"), "--url takes a base URL"),
        (("--url", "http://127.0.0.1:99999", "--key", "x"), "--url takes a base URL"),
        (("--url", "http://127.0.0.1:1", "--key", "x\ny"), "--key holds characters that no key has"),
        (
            ("--url", "http://127.0.0.1:1", "--key", "x"),
            "lapel: the server does not answer: no connection to http://127.0.0.1:1: Connection refused. ",
        ),
        ((), "no server runs on"),
        (("--encrypted", "--url", "http://127.0.0.1:1", "--key", "x"), "give them with --signing-key"),
        (("--signing-key", f"1:{'0' * 128}"), "add --encrypted"),
        (("--encrypted", "--signing-key", "1:12"), "'1:12' is not a number, a colon and 128"),
        (("--encrypted", "--signing-key", f"1:{'0' * 128}"), "no public key of P-256"),
        (("--encrypted", "--only-heartbeats"), "leave out --encrypted"),
        (("--encrypted", "--environment", "3"), "--environment 3 is not between 0 and 2."),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    flags: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = run("simulate", *flags, "--data-dir", tmp_path / "none")
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_folder_the_server_has_to_be_named(tmp_path: Path) -> None:
    env = {
        "LAPEL_DATABASE_URL": "postgresql://127.0.0.1:1/none",
        "LAPEL_SECRET": "a secret of these tests, long enough",
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:1",
        "LAPEL_S3_ACCESS_KEY_ID": "someone",
        "LAPEL_S3_SECRET_ACCESS_KEY": "something",
    }
    done = run("simulate", "--data-dir", tmp_path / "none", env=env)
    assert done.returncode == 1
    assert "lapel: name the server with --url, and a key with LAPEL_KEY." in done.stderr


def test_a_wrong_key_is_told(served: Served) -> None:
    done = run("simulate", *SMALL, "--json", "--url", served.url, "--key", "sk_test_wrong")
    assert done.returncode == 1
    assert "the fleet cannot be made: end user: 401" in done.stderr
