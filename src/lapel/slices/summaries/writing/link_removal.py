"""Takes links, images and HTML that nobody said out of what a model wrote for a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lapel.slices.language_models.extractive.text_links import links_in
from lapel.slices.search.service import sentence_ends

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

# Values that are nested more deeply are left out.
_MOST_LEVELS = 64


def text_without_links(text: str, said: AbstractSet[str]) -> tuple[str, int]:
    """A text without the sentences that have other links than those of `said`, and their number."""
    if links_in(text) <= said:
        return text, 0
    lines: list[str] = []
    removed = 0
    for line in text.split("\n"):
        sentences = list(_sentences(line))
        kept = [each for each in sentences if links_in(each) <= said]
        removed += len(sentences) - len(kept)
        if kept or not sentences:
            lines.append("".join(kept).rstrip())
    left = "\n".join(lines)
    # What is left may make a link together, such as a list of names and places.
    return (left, removed) if links_in(left) <= said else ("", removed + 1)


def value_without_links(value: object, said: AbstractSet[str], level: int = 0) -> tuple[object, int]:
    """The same for all texts of a JSON value. A member whose name has such a link goes."""
    if isinstance(value, str):
        return text_without_links(value, said)
    if not isinstance(value, list | dict):
        return value, 0
    if level > _MOST_LEVELS:
        return None, 1
    if isinstance(value, list):
        items = [value_without_links(each, said, level + 1) for each in cast("list[object]", value)]
        return [each for each, _ in items], sum(removed for _, removed in items)
    members = cast("dict[str, object]", value)
    found = {
        name: value_without_links(each, said, level + 1)
        for name, each in members.items()
        if links_in(name) <= said
    }
    removed = len(members) - len(found) + sum(each for _, each in found.values())
    return {name: each for name, (each, _) in found.items()}, removed


def _sentences(line: str) -> Iterator[str]:
    """The sentences of a line, each with the white space before it."""
    start = 0
    for end in sentence_ends(line):
        yield line[start:end]
        start = end
    if line[start:].strip():
        yield line[start:]
