"""The check of sizes finds what is too large, and is content with the project."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_sizes.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_long_file_and_a_full_folder_are_named(tmp_path: Path) -> None:
    package = tmp_path / "src" / "thing"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for number in range(12):
        (package / f"m{number}.py").write_text("x = 1\n" * 400)
    assert check(str(tmp_path)).returncode == 0
    (package / "m12.py").write_text("x = 1\n" * 401)
    said = check(str(tmp_path))
    assert said.returncode == 1
    assert said.stderr.splitlines() == [
        "src/thing has 13 modules, and 12 are allowed: split it by what belongs together",
        "src/thing/m12.py has 401 lines, and 400 are allowed: split it by what belongs together",
    ]


def test_the_project_keeps_to_the_limits() -> None:
    said = check()
    assert said.stderr == ""
    assert said.returncode == 0
