"""What commands do when their output cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.serving import LAPEL, serving


@pytest.fixture(scope="module")
def data(installation: Installation, module_folder: Path) -> Generator[Path]:
    """An installation whose server runs, so that each command need not start a database."""
    installation.copy(module_folder / "data")
    with serving(module_folder / "data"):
        yield module_folder / "data"


def shell(script: str, *arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script with bash. In it, `"$@"` is lapel with these arguments and `--data-dir`."""
    command = ["bash", "-c", script, "bash", *LAPEL, *arguments, "--data-dir", str(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "standard output is closed")]
)
def test_a_result_that_cannot_be_written_is_told(data: Path, redirection: str, why: str) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    done = shell(f'"$@" {redirection}', "config", "show", data=data)
    assert done.returncode == 1
    assert done.stderr == f"lapel: the result could not be written: {why}.\n"


@pytest.mark.parametrize(
    ("unbuffered", "what", "remedy"),
    [("", "the result", ""), ("1", "a file or the output", " Make room, or write elsewhere.")],
)
def test_help_that_cannot_be_written_is_told(unbuffered: str, what: str, remedy: str) -> None:
    """Python keeps what a full disk refuses, and would write it again at exit."""
    if not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*LAPEL, "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == f"lapel: {what} could not be written: No space left on device.{remedy}\n"


@pytest.mark.parametrize(
    "arguments", [("config", "show"), ("config", "show", "--json"), ("config", "--help")]
)
def test_when_nobody_reads_the_result_a_command_ends_quietly(data: Path, arguments: tuple[str, ...]) -> None:
    """As programs end of SIGPIPE."""
    done = shell('"$@" | sleep 0; exit ${PIPESTATUS[0]}', *arguments, data=data)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "redirection",
    ["2>&-", *(pytest.param(each, marks=pytest.mark.deep) for each in ("2>/dev/full", "2> >(sleep 0)"))],
)
def test_a_sentence_that_cannot_be_written_changes_no_status(data: Path, redirection: str) -> None:
    made = shell(f'"$@" {redirection}', "projects", "create", "Unheard", data=data)
    assert (made.returncode, "Unheard" in made.stdout) == (0, True)
    refused = shell(f'"$@" {redirection}', "config", "show", "uploads", data=data)
    assert (refused.returncode, refused.stdout) == (1, "")
    for arguments in (("config", "show", ""), ("config", "show", "--bogus"), ("bogus",)):
        bad = shell(f'"$@" {redirection}', *arguments, data=data)
        assert (bad.returncode, bad.stdout) == (2, "")
