"""Weights in installed packages: read as data, never imported, and verified before use."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
from collections.abc import Iterable, Iterator
from pathlib import Path


class DamagedPackage(Exception):
    """The checksum of an installed package's file is wrong; the message names the package and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A file in an installed package. `package`: its import name; `path`: relative to its folder."""

    package: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Packaged:
    """A file in packages, in one or several parts. `sha256`: of the joined parts, 64 hexadecimal digits.

    `install`: the command that installs the packages.
    """

    parts: tuple[Part, ...]
    sha256: str
    install: str

    def find(self) -> list[Path] | None:
        """Paths of the parts; None when a package, or the file in it, is missing."""
        found: list[Path] = []
        for part in self.parts:
            inside = folder(part.package)
            if inside is None or not (inside / part.path).is_file():
                return None
            found.append(inside / part.path)
        return found

    def read(self) -> bytes | None:
        """The joined parts; None when a part is missing.

        Raises DamagedPackage when the checksum is wrong, OSError when a part cannot be read.
        """
        paths = self.find()
        if paths is None:
            return None
        joined, digest = io.BytesIO(), hashlib.sha256()
        for block in _blocks(paths):
            digest.update(block)
            joined.write(block)
        if digest.hexdigest() != self.sha256:
            raise DamagedPackage(self.damage)
        return joined.getvalue()

    def is_sound(self) -> bool:
        """Whether the parts exist and their checksum is right. Reads in blocks of 1 MiB. Raises OSError."""
        paths, digest = self.find(), hashlib.sha256()
        for block in _blocks(paths or ()):
            digest.update(block)
        return paths is not None and digest.hexdigest() == self.sha256

    @property
    def damage(self) -> str:
        """The message for a wrong checksum."""
        names = " and ".join(part.package for part in self.parts)
        return f"{names}: the weights are damaged (wrong SHA-256); remove them, then: {self.install}"


def _blocks(paths: Iterable[Path]) -> Iterator[bytes]:
    """The content of the files, 1 MiB at a time: small blocks reuse memory. Raises OSError."""
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                yield block


def folder(package: str) -> Path | None:
    """Folder of an installed top-level package; None when there is none. The package is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a dotted name without its parent; a broken entry of sys.modules
        return None
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None
