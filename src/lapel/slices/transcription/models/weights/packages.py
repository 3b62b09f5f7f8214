"""Weights in installed packages: read as data, never imported, and verified before use."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

from lapel.foundation.workers.packaged_files import Part, blocks, paths_of


class DamagedPackage(Exception):
    """The checksum of an installed package's file is wrong; the message names the package and the remedy."""


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
        return paths_of(self.parts)

    def read(self) -> bytes | None:
        """The joined parts; None when a part is missing.

        Raises DamagedPackage when the checksum is wrong, OSError when a part cannot be read.
        """
        paths = self.find()
        if paths is None:
            return None
        joined, digest = io.BytesIO(), hashlib.sha256()
        for block in blocks(paths):
            digest.update(block)
            joined.write(block)
        if digest.hexdigest() != self.sha256:
            raise DamagedPackage(self.damage)
        return joined.getvalue()

    def is_sound(self) -> bool:
        """Whether the parts exist and their checksum is right. Reads in blocks of 1 MiB. Raises OSError."""
        paths, digest = self.find(), hashlib.sha256()
        for block in blocks(paths or ()):
            digest.update(block)
        return paths is not None and digest.hexdigest() == self.sha256

    @property
    def damage(self) -> str:
        """The message for a wrong checksum."""
        names = " and ".join(part.package for part in self.parts)
        return f"{names}: the weights are damaged (wrong SHA-256); remove them, then: {self.install}"
