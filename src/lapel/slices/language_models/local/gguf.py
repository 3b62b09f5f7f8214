"""Reads the header of a GGUF file: the format in which llama.cpp keeps models.

Source: docs/gguf.md of ggml (versions 2 and 3, little endian).
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_FORMATS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
# No model has more: the largest vocabularies have some 260,000 tokens, and a template is a few KiB.
_MOST_KEYS, _LONGEST_STRING, _LONGEST_ARRAY = 10_000, 1 << 20, 4_000_000
_MOST_TENSORS, _MOST_DIMENSIONS = 100_000, 8
# Kinds of tokens that are no text: the tokenizer makes them of their names, wherever it sees these.
_CONTROL, _USER_DEFINED = 3, 4

Value: TypeAlias = "bool | int | float | str | list[Value]"


class NotGguf(Exception):
    """The file is no GGUF model; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a model says about itself.

    `context_tokens`: the longest window that it was trained for. `control_tokens`: the names of tokens that
    mark turns and roles, such as `<|im_end|>`.
    """

    context_tokens: int
    control_tokens: tuple[str, ...] = ()


def read_facts(file: Path, *, vocabulary: bool = True) -> GgufFacts:
    """Read the header. Without `vocabulary` the control tokens are left out, which saves 0.2 s.

    Raises NotGguf, and OSError when the file cannot be read.
    """
    with _reading(file) as opened:
        return _facts(_values(opened, vocabulary=vocabulary)[0])


def check_whole(file: Path) -> None:
    """Check the header, and that the file does not end before its last tensor begins, as it does after a
    download that broke off.

    Raises NotGguf, and OSError when the file cannot be read.
    """
    with _reading(file) as opened:
        values, tensors = _values(opened, vocabulary=True)
        _facts(values)
        alignment = values.get("general.alignment", 32)
        if tensors > _MOST_TENSORS or not isinstance(alignment, int) or alignment < 1:
            raise NotGguf("has a header that makes no sense")
        offsets = [_offset(opened) for _ in range(tensors)]
        begin = -(-opened.tell() // alignment) * alignment
        size = os.fstat(opened.fileno()).st_size
        if offsets and max(offsets) >= size - begin:
            raise NotGguf(
                f"is not whole: it ends after {size} bytes, before its last tensor begins. Download it again"
            )


@contextmanager
def _reading(file: Path) -> Generator[BinaryIO]:
    # A pipe without a writer would block; opened in this way, it is an empty file.
    with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as opened:
        try:
            yield opened
        except (struct.error, UnicodeDecodeError, RecursionError):
            raise NotGguf(f"{file} is damaged: its header ends too early") from None
        except NotGguf as fault:
            raise NotGguf(f"{file} {fault}") from None


def _facts(values: dict[str, Value]) -> GgufFacts:
    window = values.get(f"{values.get('general.architecture')}.context_length")
    if not isinstance(window, int) or window < 1:
        raise NotGguf("is no language model: it names no length of its context")
    tokens, kinds = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or not isinstance(kinds, list):
        return GgufFacts(window)
    control = {
        token
        for token, kind in zip(tokens, kinds, strict=False)
        if kind in (_CONTROL, _USER_DEFINED) and isinstance(token, str) and len(token.strip()) > 1
    }
    return GgufFacts(window, tuple(sorted(control)))


def _values(file: BinaryIO, *, vocabulary: bool) -> tuple[dict[str, Value], int]:
    """The values of the header, up to the vocabulary or with it, and the number of tensors. Arrays other than
    the vocabulary are left out."""
    if file.read(4) != _MAGIC:
        raise NotGguf("is no GGUF file")
    version, tensors, count = _unpack(file, "<I"), _unpack(file, "<Q"), _unpack(file, "<Q")
    if version not in _VERSIONS or int(count) > _MOST_KEYS:
        raise NotGguf(f"is GGUF of a version that is not supported ({version})")
    values: dict[str, Value] = {}
    for _ in range(int(count)):
        key = _string(file)
        if not vocabulary and key.startswith("tokenizer."):
            break
        kept = key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
        value = _value(file, int(_unpack(file, "<I")), kept=kept)
        values[key] = value
    return values, int(tensors)


def _value(file: BinaryIO, kind: int, *, kept: bool) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _unpack(file, _format(kind))
    inner, length = int(_unpack(file, "<I")), int(_unpack(file, "<Q"))
    if length > _LONGEST_ARRAY:
        raise NotGguf("has a list that is too long")
    if inner in (_STRING, _ARRAY):
        read = [_value(file, inner, kept=kept) for _ in range(length)]
        return read if kept else []
    one = struct.Struct(_format(inner))
    data = file.read(one.size * length)
    if len(data) < one.size * length:
        raise struct.error
    return [value for (value,) in one.iter_unpack(data)] if kept else []


def _offset(file: BinaryIO) -> int:
    """Reads what the header says of a tensor; where its data begin."""
    _string(file)
    dimensions = int(_unpack(file, "<I"))
    if dimensions > _MOST_DIMENSIONS:
        raise NotGguf("has a tensor with too many dimensions")
    for _ in range(dimensions):
        _unpack(file, "<Q")
    _unpack(file, "<I")
    return int(_unpack(file, "<Q"))


def _format(kind: int) -> str:
    found = _FORMATS.get(kind)
    if found is None:
        raise NotGguf(f"has a value of an unknown type ({kind})")
    return found


def _string(file: BinaryIO) -> str:
    length = int(_unpack(file, "<Q"))
    if length > _LONGEST_STRING:
        raise NotGguf("has a text that is too long")
    data = file.read(length)
    if len(data) < length:
        raise struct.error
    return data.decode(errors="replace")


def _unpack(file: BinaryIO, form: str) -> bool | int | float:
    (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
    return value
