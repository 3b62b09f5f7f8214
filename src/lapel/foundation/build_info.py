"""Which build this is: the version, and the commit that it was built from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lapel import __version__

_PACKAGE = Path(__file__).parents[1]
# tools/record_commit.py writes this file into the packages that it builds.
_RECORDED = "commit.txt"
_SHOWN = 12


@cache
def commit() -> str | None:
    """The first 12 digits of the commit: of the build, or of the checkout whose code runs. None if neither is
    known. Reads files, and starts no process."""
    return find_commit(_PACKAGE)


def version_line() -> str:
    """`0.1.0 (0123456789ab)`, or the version alone if no commit is known."""
    found = commit()
    return __version__ if found is None else f"{__version__} ({found})"


def find_commit(package: Path) -> str | None:
    """What `commit` tells of a package in this folder."""
    try:
        recorded = package / _RECORDED
        if recorded.exists():
            return recorded.read_text(encoding="ascii").strip()[:_SHOWN] or None
        root = package.parents[1]
        # An installed package may stand somewhere in a checkout of another project.
        if package.parent.name != "src" or not (root / "pyproject.toml").exists():
            return None
        return _head_of(root / ".git")
    except (OSError, ValueError):
        return None


def _head_of(git: Path) -> str | None:
    """The commit of a checkout. Source: gitrepository-layout(5)."""
    if git.is_file():  # a further working tree
        git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text(encoding="ascii").strip()
    if not head.startswith("ref:"):
        return _digits(head)
    name = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = git / common.read_text(encoding="utf-8").strip() if common.exists() else git
    for folder in (git, shared):
        if (folder / name).is_file():
            return _digits((folder / name).read_text(encoding="ascii"))
    packed = shared / "packed-refs"
    lines = packed.read_text(encoding="utf-8").splitlines() if packed.exists() else []
    return next((_digits(line) for line in lines if line.endswith(f" {name}")), None)


def _digits(line: str) -> str | None:
    found = line.strip()[:_SHOWN]
    return found if len(found) == _SHOWN and all(each in "0123456789abcdef" for each in found) else None
