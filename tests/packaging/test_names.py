"""The check of names finds what is named twice or renamed, and is content with the project."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_names.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_names_that_stand_twice_and_renames_are_named(tmp_path: Path) -> None:
    source = tmp_path / "src" / "thing"
    put(source / "one" / "service.py", "class A: ...\n")
    put(source / "two" / "service.py", "import os as system\nfrom thing.one import service\nclass B: ...\n")
    put(source / "one" / "__init__.py")
    put(tmp_path / "tests" / "service_test.py", "class A: ...\n")
    assert check(str(tmp_path)).stderr == ""
    put(source / "one" / "rules.py", "class C: ...\n")
    put(source / "two" / "rules.py", "class A: ...\n")
    put(tmp_path / "tests" / "test_it.py", "import thing.one as it\nfrom thing.one import rules as its\n")
    said = check(str(tmp_path))
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        "class A: in src/thing/one/service.py, src/thing/two/rules.py; give it a name of its own",
        "import thing.one as it: in tests/test_it.py; give it a name of its own",
        "import thing.one.rules as its: in tests/test_it.py; give it a name of its own",
        "module rules: in src/thing/one/rules.py, src/thing/two/rules.py; give it a name of its own",
    ]


@pytest.mark.deep  # `make lint` runs it, too
def test_the_project_keeps_to_the_rules() -> None:
    said = check()
    assert said.stderr == ""
    assert said.returncode == 0
