"""The first key is shown to a terminal, and to nothing that may keep it: a pipe ends in a log."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import stat
from pathlib import Path

import pytest

from tests.support.serving import ended, eventually, run
from tests.support.warm import DEVNULL, Warm

# Every kind of secret that the contract names, section 2.
TOKEN = re.compile(r"\b(?:sk_live|sk_test|rk_live|rk_test|dtok|up|eut)_[0-9A-Za-z]{38}\b|whsec_[0-9A-Za-z+/]")


def fetched(data: Path) -> str:
    """The first key of an installation, from its file, which only the owner may read."""
    file = data / "first-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    assert TOKEN.fullmatch(key)
    return key


@pytest.mark.deep
def test_no_whole_log_of_an_installation_holds_a_token(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "everything.log"
    with log.open("a") as output:
        serve = ["serve", "--data-dir", str(data), "--port", "0"]
        with Warm(*serve, env=os.environ, stdout=output, stderr=output) as server:
            eventually(lambda: server.poll() is not None or "Ready after" in log.read_text())
            server.send_signal(signal.SIGTERM)
            assert ended(server) == 0, log.read_text()
        for command in (
            ("init", "--data-dir", tmp_path / "init"),
            ("doctor", "--data-dir", data),
            ("backup", tmp_path / "copy", "--data-dir", data),
            ("restore", tmp_path / "copy", "--data-dir", tmp_path / "restored"),
        ):
            done = run(*command)
            assert done.returncode == 0, done.stderr
            output.write(done.stdout + done.stderr)
            output.flush()
    whole = log.read_text()
    assert f"Secret key   in {data}/first-key" in whole
    assert f"Secret key   in {tmp_path}/init/first-key" in whole
    keys = [fetched(tmp_path / name) for name in ("data", "init")]
    assert TOKEN.search(whole) is None
    assert [key for key in keys if key[8:] in whole] == []


def test_a_terminal_is_shown_the_first_key_and_no_file_is_left(tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    init = ["init", "--data-dir", str(tmp_path / "data")]
    with Warm(*init, env=os.environ, stdout=its_end, stderr=DEVNULL) as process:
        os.close(its_end)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends on Linux
            while piece := os.read(terminal, 4096):
                shown += piece
        assert ended(process) == 0
    os.close(terminal)
    assert TOKEN.search(shown.decode())
    assert not (tmp_path / "data" / "first-key").exists()
