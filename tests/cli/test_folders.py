"""Which data folders the commands refuse, and how they say so."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from lapel.cli.doctor import checks
from lapel.cli.shared.installation import reachable
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.hosting.data_folder import DataFolder, DataFolderError, Running
from lapel.settings import Settings
from tests.support.serving import run


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        ("keys", "create"), ("keys", "list"), ("keys", "revoke", "key_x"), ("keys", "rotate", "key_x"),
        ("projects", "create", "Ours"), ("projects", "list"), ("providers", "list"), ("migrate",),
        ("backup", "copy"), ("config", "show"), ("config", "set", "upload", "allow_roaming=true"),
        ("config", "clear", "upload"), ("audit", "list"), ("erasures", "list"), ("holds", "list"),
    ],
)  # fmt: skip
def test_a_mistyped_data_folder_is_refused_and_not_made(
    command: tuple[str, ...], exists: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "mistyped"
    if exists:
        folder.mkdir()
    done = run(*command, "--data-dir", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(folder) in done.stderr
    assert "name the data folder with --data-dir" in done.stderr
    assert [str(each) for each in tmp_path.rglob("*")] == ([str(folder)] if exists else [])


AS_ANOTHER_USER = """
import os, sys
from pathlib import Path
from lapel.cli.shared.installation import reachable
from lapel.settings import Settings
settings = Settings.from_env({"HOME": "/"}, data_dir=Path(sys.argv[1]))
os.setgroups([])
os.setresuid(65534, 65534, 65534)
for begin in (True, False):
    try:
        with reachable(settings, begin=begin):
            pass
    except Exception as fault:
        print(fault)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_folder_of_another_user_is_refused_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name, "data")
        folder.mkdir(mode=0o700)
        (folder / "VERSION").write_text(newest_revision())
        script = [sys.executable, "-c", AS_ANOTHER_USER, folder]
        done = subprocess.run(script, capture_output=True, text=True, check=True)
        told = done.stdout.splitlines()
        assert len(told) == 2
        assert {
            line.startswith(f"{folder} belongs to another user; run Lapel as that user") for line in told
        } == {True}


@pytest.mark.parametrize("command", [("keys", "create"), ("config", "show"), ("backup", "copy")])
def test_the_beginning_of_an_installation_is_refused_and_not_finished(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """A first start that failed, for instance because its port was taken, leaves a secret."""
    folder = DataFolder(tmp_path / "begun")
    folder.prepare()
    folder.secret()
    done = run(*command, "--data-dir", folder.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{folder.path} holds an installation that was begun and not finished" in done.stderr
    assert not folder.postgres.exists()


def test_doctor_makes_nothing_in_an_empty_folder(tmp_path: Path) -> None:
    list(checks.local(Settings.from_env({}, data_dir=tmp_path)))
    assert not list(tmp_path.iterdir())


def test_the_server_that_runs_on_the_default_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    default = DataFolder(tmp_path / "lapel")
    default.prepare()
    default.write_running(Running(1, "http://127.0.0.1:8123", "127.0.0.1", 8123, False, None, None))
    settings = Settings.from_env({}, data_dir=tmp_path / "mistyped")
    with default.locked(), pytest.raises(DataFolderError) as told, reachable(settings):
        pass
    assert f" A server runs on {default.path}, at http://127.0.0.1:8123." in str(told.value)


class Health(http.server.BaseHTTPRequestHandler):
    """Answers as a Lapel server does."""

    def do_GET(self) -> None:
        body = b'{"status":"healthy","database":"connected","billing":"disabled"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


@pytest.mark.parametrize("handler", [Health, http.server.BaseHTTPRequestHandler])
def test_a_server_at_the_address_of_the_settings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: type[http.server.BaseHTTPRequestHandler]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        settings = Settings.from_env({}, data_dir=tmp_path / "mistyped", port=server.server_port)
        with pytest.raises(DataFolderError) as told, reachable(settings):
            pass
        server.shutdown()
    named = f"The server at {settings.base_url} runs on another folder, which it named when it started."
    assert (named in str(told.value)) == (handler is Health)


def test_to_migrate_a_given_database_makes_no_folder(tmp_path: Path) -> None:
    env = {"LAPEL_DATABASE_URL": "postgresql://lapel@127.0.0.1:9/lapel", "LAPEL_SECRET": "s" * 32}
    done = run("migrate", "--data-dir", tmp_path / "none", env=env)
    assert done.returncode == 1
    assert not list(tmp_path.iterdir())
