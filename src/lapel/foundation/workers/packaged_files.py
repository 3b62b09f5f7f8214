"""Files in installed packages, such as the weights of models: read as data, never imported."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A file in an installed package. `package`: its import name; `path`: relative to its folder."""

    package: str
    path: str


def paths_of(parts: Iterable[Part]) -> list[Path] | None:
    """Paths of files in packages; None when a package, or the file in it, is missing."""
    found: list[Path] = []
    for part in parts:
        inside = package_folder(part.package)
        if inside is None or not (inside / part.path).is_file():
            return None
        found.append(inside / part.path)
    return found


def package_folder(package: str) -> Path | None:
    """Folder of an installed top-level package; None when there is none. The package is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a dotted name without its parent; a broken entry of sys.modules
        return None
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None


def blocks(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of the files, 1 MiB at a time: small blocks reuse memory. Raises OSError."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                yield block
