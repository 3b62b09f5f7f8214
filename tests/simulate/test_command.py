"""`lapel simulate` as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import LAPEL, Served, eventually, run, serving, told
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


@pytest.mark.deep
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


@pytest.mark.deep
def test_devices_that_encrypt_take_the_keys_of_a_server_elsewhere(served: Served) -> None:
    place = ("--data-dir", served.data_dir)
    told("signing-keys", "prepare", *place)
    keys = [f"{key['key_id']}:{key['public_key']}" for key in told("signing-keys", "list", *place)["data"]]
    env = {"LAPEL_URL": served.url, "LAPEL_KEY": told("keys", "create", *place)["key"]}
    done = run("simulate", *SMALL, "--encrypted", "--json", "--signing-key", ",".join(keys), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["sealed"]["published"] > 0


@pytest.mark.deep
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


@pytest.mark.deep
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


@pytest.mark.deep
def test_a_second_ctrl_c_skips_the_report_and_still_removes_everything(served: Served) -> None:
    command = ["simulate", "--speed", "60", "--data-dir", str(served.data_dir)]
    with Warm(*command, env=os.environ) as process:
        assert process.stderr is not None
        assert "20 devices live" in process.stderr.readline()
        time.sleep(1.5)
        with frozen(served):  # the report needs the server, so it cannot be ready before the second one
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                eventually(lambda: not is_pending(process.pid))
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert output == ""
    assert "ended without a report" in errors
    assert "Traceback" not in errors
    key = told("keys", "create", "--data-dir", served.data_dir)["key"]
    answer = http.get(f"{served.url}/v1/devices", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["data"] == []


@contextlib.contextmanager
def frozen(server: Served) -> Generator[None]:
    """The server's API answers nothing within the block."""
    pid = server.pid("api")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_pending(pid: int) -> bool:
    """Whether a signal waits for a process: another one of the same number would be lost."""
    if sys.platform != "linux":
        time.sleep(0.5)
        return False
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd:", "ShdPnd:")))
