"""Check names: classes and modules of `src` have names of their own, and no import renames a module of ours.

    python tools/check_names.py [ROOT]

The names of SLICE_FILES are the same in every slice on purpose. TODAY lists the other names that are used
twice, and the imports that rename. If an entry of TODAY no longer occurs, this check fails until the entry
is removed. So TODAY never allows more than there is.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("src", "tests", "benchmarks", "tools")
# The files of a slice: files with the same purpose have the same name in every slice.
SLICE_FILES = frozenset(
    {
        "__init__", "crash_points", "errors", "events", "jobs", "nouns", "payloads", "queries", "routes",
        "rows", "service", "slice", "views", "wire",
    }
)  # fmt: skip

TODAY: frozenset[str] = frozenset(
    {
        "class DownloadQuery",
        "class Settings",
        "module access",
        "module failures",
        "module operator",
        "module serve",
    }
)


def offences(root: Path) -> dict[str, list[str]]:
    """The names below `root` that break a rule, and the files that have them.

    A name is `class NAME`, `module NAME` or `import OURS as OTHER`.
    """
    places: dict[str, list[str]] = defaultdict(list)
    renames: dict[str, list[str]] = defaultdict(list)
    ours = {_dotted(path.relative_to(root / "src")) for path in (root / "src").rglob("*.py")}
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            where = path.relative_to(root).as_posix()
            if folder == "src" and path.stem not in SLICE_FILES:
                places[f"module {path.stem}"].append(where)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and folder == "src":
                    places[f"class {node.name}"].append(where)
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    for renamed in _renames(node, ours):
                        renames[renamed].append(where)
    return {name: at for name, at in places.items() if len(at) > 1} | renames


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _renames(node: ast.Import | ast.ImportFrom, ours: set[str]) -> Iterator[str]:
    """The modules of ours that an import gives another name."""
    start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    for each in node.names:
        module = f"{start}{each.name}"
        if module in ours and each.asname not in (None, module.rpartition(".")[2]):
            yield f"import {module} as {each.asname}"


def complaints(found: dict[str, list[str]], allowed: frozenset[str]) -> list[str]:
    """A message for each name that was found but is not allowed, or is allowed but was not found."""
    said = [
        f"{name}: in {', '.join(at)}; give it a name of its own"
        for name, at in sorted(found.items())
        if name not in allowed
    ]
    gone = sorted(allowed - found.keys())
    return said + [f"{name}: no longer occurs; remove it from TODAY in tools/check_names.py" for name in gone]


def main() -> int:
    """1 with a line for each complaint on standard error, else 0."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    said = complaints(offences(root), TODAY if len(sys.argv) == 1 else frozenset())
    for each in said:
        print(each, file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
