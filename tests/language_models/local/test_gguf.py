"""The header of a model's file, whole, damaged, and hostile."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from lapel.slices.language_models.local.gguf import GgufFacts, NotGguf, check_whole, read_facts
from tests.language_models.local.ggufs import MODEL, gguf, header

# A list in a list in a list, and so on.
NESTED = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 3000


def test_a_model_says_how_long_its_window_is_and_which_tokens_are_no_text(tmp_path: Path) -> None:
    file = gguf(tmp_path)
    assert read_facts(file) == GgufFacts(1024, ("<s>", "<|im_end|>", "<|im_start|>"))
    assert read_facts(file, vocabulary=False) == GgufFacts(1024)


def test_a_header_that_ends_anywhere_else_is_refused(tmp_path: Path) -> None:
    whole = header(MODEL)
    file = tmp_path / "cut.gguf"
    for length in range(0, len(whole), 17):
        file.write_bytes(whole[:length])
        with pytest.raises(NotGguf, match=r"cut\.gguf (is|ends|has)"):
            read_facts(file)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\3\4" + bytes(100), "is no GGUF file"),
        (header(MODEL, version=1), "version"),
        (header({"general.architecture": "tiny"}), "no length of its context"),
        (header(MODEL | {"tiny.context_length": "long"}), "no length of its context"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "version"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60), "text that is too long"),
        (header({})[:16] + struct.pack("<QQ", 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 2**50), "list"),
        (header({})[:16] + struct.pack("<QQ", 1, 1) + b"a" + struct.pack("<I", 99), "unknown type"),
        (header({})[:16] + struct.pack("<QQ", 1, 1) + b"a" + NESTED, "damaged"),
    ],
)
def test_hostile_headers_are_refused_in_words(tmp_path: Path, data: bytes, why: str) -> None:
    file = tmp_path / "odd.gguf"
    file.write_bytes(data)
    with pytest.raises(NotGguf, match=why):
        read_facts(file)


def test_a_file_that_ends_before_its_tensors_is_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "part.gguf"
    head = header(MODEL, tensors={"a.weight": 0, "b.weight": 64})
    start = -(-len(head) // 32) * 32
    whole = head.ljust(start + 96, b"\0")
    file.write_bytes(whole)
    check_whole(file)
    for length in (len(head), start, start + 64):
        file.write_bytes(whole[:length])
        read_facts(file)
        with pytest.raises(NotGguf, match=f"not whole: it ends after {length} bytes"):
            check_whole(file)
    file.write_bytes(whole[: len(head) - 3])
    with pytest.raises(NotGguf, match="ends too early"):
        check_whole(file)


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    """It is not waited for."""
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(NotGguf, match="is no GGUF file"):
        read_facts(tmp_path / "pipe.gguf")
