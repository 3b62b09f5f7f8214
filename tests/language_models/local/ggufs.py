"""Small GGUF files: only headers, which no engine could load."""

from __future__ import annotations

import struct
from pathlib import Path

Value = str | int | float | bool | list[str] | list[int]


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: Value) -> bytes:
    match given:
        case bool():
            return struct.pack("<I?", 7, given)
        case str():
            return struct.pack("<I", 8) + string(given)
        case int():
            return struct.pack("<II", 4, given)
        case float():
            return struct.pack("<If", 6, given)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(given)) + b"".join(string(str(each)) for each in given)
        case _:
            return struct.pack("<IIQ", 9, 5, len(given)) + struct.pack(f"<{len(given)}i", *given)


def header(
    values: dict[str, Value],
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    tensors: dict[str, int] | None = None,
) -> bytes:
    """`tensors`: where the data of each begin; they are vectors."""
    tensors = tensors or {}
    body = b"".join(string(key) + value(each) for key, each in values.items())
    body += b"".join(
        string(name) + struct.pack("<IQIQ", 1, 16, 0, offset) for name, offset in tensors.items()
    )
    return magic + struct.pack("<IQQ", version, len(tensors), len(values)) + body


MODEL: dict[str, Value] = {
    "general.architecture": "tiny",
    "general.quantized": True,
    "tiny.context_length": 1024,
    "tiny.scale": 0.5,
    "tokenizer.ggml.merges": ["a b", "b c"],
    "tokenizer.ggml.tokens": ["<|im_start|>", "<|im_end|>", "word", "<s>", "\n"],
    "tokenizer.ggml.token_type": [3, 3, 1, 4, 4],
}


def gguf(folder: Path, **changed: Value) -> Path:
    """A model's file; `changed` replaces values, with `__` for each dot."""
    file = folder / "Tiny-Model.gguf"
    file.write_bytes(header(MODEL | {key.replace("__", "."): each for key, each in changed.items()}))
    return file
