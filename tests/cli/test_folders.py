"""Which data folders the commands refuse, and how they say so."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lapel.foundation.database.schema_version import newest_revision
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
