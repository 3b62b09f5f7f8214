"""The check of docstrings finds errors that are not named, and is content with the project."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BASES = """
class Refusal(Exception):
    pass


class TooLate(Refusal):
    pass
"""
SAID = '''
"""All functions here may raise KeyError."""

import errors


def named() -> None:
    """Raises TooLate at night."""
    raise TooLate


def base_named() -> None:
    """Raises Refusal, or an OSError of the file."""
    if named:
        raise errors.TooLate("now")
    raise FileNotFoundError(2)


def raised_again(error: Exception) -> None:
    try:
        named()
    except ValueError:
        raise
    raise error


def made_elsewhere() -> None:
    raise too_late()


def of_the_module() -> None:
    raise KeyError


def impossible() -> None:
    raise AssertionError


def outer() -> None:
    def inner() -> None:
        raise TooLate


def command() -> None:
    """Do it.

    For example:

        lapel do it
    """
    raise SystemExit(1)


def _private() -> None:
    raise TooLate


class Thing:
    """Every method raises TooLate when it is late."""

    def method(self) -> None:
        raise TooLate


class Port(Protocol):
    def method(self) -> None:
        raise NotImplementedError


class _Private:
    def method(self) -> None:
        raise TooLate
'''
SILENT = '''
def nothing_said() -> None:
    raise TooLate


def another_said() -> None:
    """Raises Refusals, TooLateness or Exception."""
    if nothing_said:
        raise TooLate("now")
    raise OSError from None


if nothing_said:

    class Thing:
        """A thing."""

        async def method(self) -> None:
            """Raises TooLate at night."""
            if self:
                raise KeyError(self)
            raise SystemExit(1)
'''


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_docstrings.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_error_that_no_docstring_names_is_told(tmp_path: Path) -> None:
    package = tmp_path / "src" / "thing"
    package.mkdir(parents=True)
    (package / "errors.py").write_text(BASES)
    (package / "said.py").write_text(SAID)
    assert check(str(tmp_path)).stderr == ""
    assert check(str(tmp_path)).returncode == 0
    (package / "silent.py").write_text(SILENT)
    told = check(str(tmp_path))
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        "src/thing/silent.py:2: nothing_said raises TooLate: say in its docstring when",
        "src/thing/silent.py:6: another_said raises OSError, TooLate: say in its docstring when",
        "src/thing/silent.py:18: Thing.method raises KeyError, SystemExit: say in its docstring when",
    ]


@pytest.mark.deep  # `make lint` runs it, too
def test_the_project_names_its_errors() -> None:
    told = check()
    assert told.stderr == ""
    assert told.returncode == 0
