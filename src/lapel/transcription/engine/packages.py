"""Weights that installed packages carry: read as data, never imported, and checked before they are used."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
from pathlib import Path


class DamagedPackage(Exception):
    """An installed package holds other bytes than it should; the message names it and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A file in an installed package. `package`: the name it is imported by; `path`: from its folder."""

    package: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Packaged:
    """A file that packages carry, in one part or several. `sha256`: of the joined parts, 64 hex digits.

    `install`: what a person types to bring the packages.
    """

    parts: tuple[Part, ...]
    sha256: str
    install: str

    def find(self) -> list[Path] | None:
        """Where the parts are; None when a package, or the file in it, is missing."""
        found: list[Path] = []
        for part in self.parts:
            inside = folder(part.package)
            if inside is None or not (inside / part.path).is_file():
                return None
            found.append(inside / part.path)
        return found

    def read(self) -> bytes | None:
        """The parts, joined; None when one is missing. Raises DamagedPackage if the sum is wrong."""
        paths = self.find()
        if paths is None:
            return None
        joined, digest = io.BytesIO(), hashlib.sha256()
        for path in paths:
            piece = path.read_bytes()
            digest.update(piece)
            joined.write(piece)
        if digest.hexdigest() != self.sha256:
            raise DamagedPackage(self.damage)
        return joined.getvalue()

    def is_sound(self) -> bool:
        """Whether the parts are there and their sum is right; keeps none of them in memory."""
        paths, digest = self.find(), hashlib.sha256()
        for path in paths or ():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return paths is not None and digest.hexdigest() == self.sha256

    @property
    def damage(self) -> str:
        """The sentence for people when the sum is wrong."""
        names = " and ".join(part.package for part in self.parts)
        return f"{names}: the weights are damaged (wrong SHA-256); remove them, then: {self.install}"


def folder(package: str) -> Path | None:
    """Folder of an installed top-level package, which is not imported; None when there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a dotted name without its parent; a broken entry of sys.modules
        return None
    places = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(places))) if places else None
