"""The page that says what shows each sentence of the HTTP contract names only what exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# The sections that are gone through sentence by sentence.
WANTED = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "11", "14", "15", "18", "19"}


def rows(section: str) -> list[list[str]]:
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    named = (each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in named if name.startswith("test_"))


def test_no_section_is_without_rows() -> None:
    found = {section.partition(":")[0].lstrip("§"): rows(section) for section in SECTIONS}
    assert set(found) >= WANTED
    assert all(found.values())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.split(":")[0].strip())
def test_every_sentence_has_a_test_that_exists(section: str) -> None:
    for sentence, shown_by in rows(section):
        named = NODE.findall(shown_by)
        assert named, f"nothing shows: {sentence}"
        missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
        assert missing == [], sentence


def test_no_sentence_stands_twice_in_a_section() -> None:
    for section in SECTIONS:
        sentences = [sentence for sentence, _ in rows(section)]
        assert len(sentences) == len(set(sentences)), section.split("\n")[0]
