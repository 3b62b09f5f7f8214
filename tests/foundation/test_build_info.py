"""The build tells its commit: the one that was recorded, or that of the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lapel import __version__
from lapel.foundation.build_info import find_commit

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    package = root / "src" / "lapel"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (root / "pyproject.toml").write_text("")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "a")
    return root


def test_of_a_checkout_it_is_the_commit_that_is_checked_out(checkout: Path) -> None:
    package = checkout / "src" / "lapel"
    head = git(checkout, "rev-parse", "HEAD")
    assert find_commit(package) == head[:12]
    git(checkout, "pack-refs", "--all")
    assert find_commit(package) == head[:12]
    git(checkout, "worktree", "add", "-q", "-b", "other", str(checkout.parent / "other"))
    git(checkout.parent / "other", "commit", "-q", "--allow-empty", "-m", "b")
    other = git(checkout.parent / "other", "rev-parse", "HEAD")
    assert find_commit(checkout.parent / "other" / "src" / "lapel") == other[:12] != head[:12]
    git(checkout, "checkout", "-q", "--detach")
    assert find_commit(package) == head[:12]


def test_an_installed_package_does_not_tell_the_commit_of_a_checkout_around_it(checkout: Path) -> None:
    installed = checkout / ".venv" / "lib" / "site-packages" / "lapel"
    installed.mkdir(parents=True)
    assert find_commit(installed) is None
    (installed / "commit.txt").write_text("0123456789abcdef0123456789abcdef01234567\n")
    assert find_commit(installed) == "0123456789ab"


def test_damage_is_no_commit(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert find_commit(checkout / "src" / "lapel") is None


def test_a_wheel_has_the_commit_that_it_was_built_from(tmp_path: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        if head.returncode:  # an archive of the source
            assert "lapel/commit.txt" not in names
        else:
            assert files.read("lapel/commit.txt").decode().strip() == head.stdout.strip()


def test_the_command_tells_version_and_commit() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lapel.cli.main", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(__version__)
    found = find_commit(ROOT / "src" / "lapel")
    assert found is None or f"({found})" in done.stdout
