"""Check sizes: a Python file has at most 400 lines, and a folder of `src` at most 12 modules.

Usage: python tools/check_sizes.py [ROOT]
"""

from __future__ import annotations

import sys
from pathlib import Path

MOST_LINES = 400
MOST_MODULES = 12
FOLDERS = ("src", "tests", "benchmarks", "tools")


def sizes(root: Path) -> dict[str, int]:
    """Everything below `root` that is larger than its limit: path to lines or modules."""
    found: dict[str, int] = {}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            lines = len(path.read_text().splitlines())
            if lines > MOST_LINES:
                found[path.relative_to(root).as_posix()] = lines
    packages = {path.parent for path in (root / "src").rglob("*.py")}
    for package in packages - {each for each in packages if each.name == "versions"}:  # one file a migration
        modules = len([path for path in package.glob("*.py") if path.name != "__init__.py"])
        if modules > MOST_MODULES:
            found[package.relative_to(root).as_posix()] = modules
    return found


def complaints(found: dict[str, int]) -> list[str]:
    """What to do about each of them."""
    said: list[str] = []
    for name, now in sorted(found.items()):
        unit, most = ("lines", MOST_LINES) if name.endswith(".py") else ("modules", MOST_MODULES)
        said.append(f"{name} has {now} {unit}, and {most} are allowed: split it by what belongs together")
    return said


def main() -> int:
    """1 with a line for each complaint on standard error, else 0."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    said = complaints(sizes(root))
    for each in said:
        print(each, file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
