"""What a shell hands over when a variable was not set or a file name is no text."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.serving import LAPEL, run, told


@pytest.fixture(scope="module")
def data(installation: Installation, module_folder: Path) -> Path:
    """An installation that nobody serves."""
    folder = module_folder / "data"
    installation.copy(folder)
    return folder


@pytest.mark.parametrize(
    "flags",
    [
        ("--scopes", ""),
        ("--scopes=",),
        ("--expires", ""),
        ("--expires=",),
        ("--end-user", ""),
        ("--project", ""),
        ("--data-dir", ""),
    ],
    ids=" ".join,
)
def test_an_empty_flag_is_refused_and_makes_no_key(data: Path, flags: tuple[str, ...]) -> None:
    before = told("keys", "list", "--data-dir", data)
    done = run("keys", "create", "--data-dir", data, *flags)
    assert done.returncode == 2
    assert flags[0].rstrip("=") in done.stderr
    assert done.stdout == ""
    assert told("keys", "list", "--data-dir", data) == before


@pytest.mark.parametrize("scopes", [",", " ", " , ,"])
def test_scopes_without_a_scope_make_no_secret_key(data: Path, scopes: str) -> None:
    done = run("keys", "create", "--data-dir", data, "--scopes", scopes)
    assert done.returncode == 1
    assert "--scopes" in done.stderr
    assert "sk_" not in done.stdout


def test_an_empty_data_folder_name_is_not_the_current_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [*LAPEL, "init", "--data-dir", ""],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [("projects", "create"), ("keys", "revoke"), ("keys", "create", "--name")], ids=" ".join
)
def test_an_argument_that_is_no_text_is_called_that(data: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*map(os.fsencode, (*LAPEL, *command)), b"a\xffb", b"--data-dir", os.fsencode(data)],
        env=os.environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr
    assert "database" not in done.stderr


@pytest.mark.parametrize("place", ["backup", "objects/backup", "objects/lapel/objects/backup", "../data/x"])
def test_a_backup_into_the_data_folder_is_refused(data: Path, place: str) -> None:
    before = sorted(str(path) for path in (data / "objects").rglob("*"))
    done = run("backup", data / place, "--data-dir", data)
    assert done.returncode == 1
    assert "data folder" in done.stderr
    assert sorted(str(path) for path in (data / "objects").rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("create", "--name", "n" * 129), "--name must have at most 128 characters."),
        (
            ("create", "--expires", "9999-12-31T23:59:59-23:00"),
            "--expires '9999-12-31T23:59:59-23:00' is not within the years 1 to 9999 in UTC.",
        ),
        (("create", "--scopes", ",".join(["devices:read"] * 101)), "--scopes must have at most 100 entries."),
        (("rotate", "key_none", "--overlap", "31d"), "--overlap in seconds must be at most 2592000."),
    ],
    ids=lambda each: each[1] if isinstance(each, tuple) else "",
)
def test_a_key_has_the_limits_of_the_api(data: Path, command: tuple[str, ...], words: str) -> None:
    before = told("keys", "list", "--data-dir", data)
    done = run("keys", *command, "--data-dir", data)
    assert done.returncode == 1
    assert done.stderr.startswith(f"lapel: {words}")
    assert told("keys", "list", "--data-dir", data) == before


def store_without_keys(home: Path) -> dict[str, str]:
    """A given store, and a machine on which the AWS chain finds nothing."""
    found = {name: "" for name in os.environ if name.startswith("AWS_")}
    chain = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    return {**found, **chain, "LAPEL_S3_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize("command", ["serve --port 0", "init", "backup", "keys list"])
def test_a_store_without_keys_is_one_line(command: str, tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "copy"
    words = [*command.split(), *([str(target)] if command == "backup" else [])]
    done = run(*words, "--data-dir", data, env=store_without_keys(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("lapel: ")
    assert "LAPEL_S3_ENDPOINT is set without keys for it" in line
    assert "Set LAPEL_S3_ACCESS_KEY_ID and LAPEL_S3_SECRET_ACCESS_KEY" in line
    assert not data.exists()  # nothing was begun
    assert not target.exists()


def test_doctor_calls_a_store_without_keys_that(data: Path, tmp_path: Path) -> None:
    done = run("doctor", "--data-dir", data, env=store_without_keys(tmp_path))
    assert done.returncode == 1
    (broken,) = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    assert "credentials" in broken
    assert "LAPEL_S3_ENDPOINT is set without keys for it" in broken
