"""The build tells its commit: the one that was recorded, or that of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
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


@pytest.fixture
def source(checkout: Path) -> Path:
    """A checkout that can be built, with a package that has nothing but a version."""
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "tools/record_commit.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "src" / "lapel" / "__init__.py").write_text('__version__ = "1.0"\n')
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "b")
    return checkout


def build(source: Path, target: str, **environment: str) -> Path:
    """The package that is built from a source, of the kind `wheel` or `sdist`."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", "built"]
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (package,) = (source / "built").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return package


def recorded(wheel: Path) -> str | None:
    with zipfile.ZipFile(wheel) as files:
        assert "lapel/__init__.py" in files.namelist()
        names = [name for name in files.namelist() if name.endswith("commit.txt")]
        assert names in ([], ["lapel/commit.txt"])
        return files.read(names[0]).decode().strip() if names else None


def unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as files:
        files.extractall(folder, filter="data")
    (found,) = (each for each in folder.iterdir() if (each / "PKG-INFO").exists())
    return found


def test_a_wheel_of_a_source_distribution_has_the_commit_of_the_checkout(
    source: Path, tmp_path: Path
) -> None:
    head = git(source, "rev-parse", "HEAD")
    sdist = build(source, "sdist")
    for folder in (tmp_path / "alone", source):  # the second one is the checkout of another commit
        folder.mkdir(exist_ok=True)
        if folder == source:
            git(source, "commit", "-q", "--allow-empty", "-m", "c")
        assert recorded(build(unpacked(sdist, folder), "wheel")) == head
    inside = unpacked(sdist, tmp_path / "packaging")
    git(inside, "init", "-q")
    git(inside, "add", ".")
    git(inside, "commit", "-q", "-m", "imported")
    assert recorded(build(inside, "wheel")) == head


def test_a_source_within_another_checkout_does_not_record_the_commit_of_that(
    source: Path, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    shutil.copytree(source, outer / "vendored", ignore=shutil.ignore_patterns(".git"))
    (outer / "file").touch()
    git(outer, "init", "-q")
    git(outer, "add", "file")
    git(outer, "commit", "-q", "-m", "a")
    assert recorded(build(outer / "vendored", "wheel")) is None
    # Hooks of git run with this variable, and some of them build.
    assert recorded(build(outer / "vendored", "wheel", GIT_DIR=str(outer / ".git"))) is None
    assert recorded(build(source, "wheel", GIT_DIR=str(outer / ".git"))) == git(source, "rev-parse", "HEAD")


def test_a_wheel_can_be_built_without_git(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert recorded(build(source, "wheel", PATH=str(tmp_path / "empty"))) is None
    assert recorded(build(source, "wheel")) is not None


def test_the_command_tells_version_and_commit() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lapel.cli.main", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(__version__)
    found = find_commit(ROOT / "src" / "lapel")
    assert found is None or f"({found})" in done.stdout
