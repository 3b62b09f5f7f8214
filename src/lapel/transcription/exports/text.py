"""Plain text, and Markdown in which nothing that was said is markup."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from lapel.transcription.exports.content import NOTHING_SAID, clock, joined, or_else

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.transcription.exports.content import Document

# What is markup in CommonMark or in one of its usual extensions, wherever it stands. What is markup at the
# start of a line only (`-`, `1.`) is left alone, for no line starts with what was said.
_MARKUP = re.compile(r"[\\`*_{}\[\]#|~$^=@]|(?<!\d):(?=[\w/+-])|\.(?=\w)|/(?=/)|%(?=%)")
# As entities: the oldest Markdown programs know no backslash before these.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def txt(document: Document) -> Iterator[bytes]:
    """A paragraph a turn, an empty line between them. UTF-8 without a mark; nothing when nothing was said."""
    turns = (f"{who}: {text}" if who else text for _, who, text in document.paragraphs())
    some = False
    for piece in joined("\n\n", turns):
        some = True
        yield piece
    if some:
        yield b"\n"


def md(document: Document) -> Iterator[bytes]:
    """Title, facts, and a paragraph a turn, each with its speaker in bold and its time."""
    blocks = [f"# {escaped(document.title)}"]
    facts = [f"- **{heading}:** {escaped(value)}" for heading, value in document.facts()]
    if facts:
        blocks.append("\n".join(facts))
    blocks.append("## Transcript")
    said = (
        f"**{escaped(who)}** ({clock(start)}) {escaped(text)}" if who else f"({clock(start)}) {escaped(text)}"
        for start, who, text in document.paragraphs()
    )
    yield from joined("\n\n", chain(blocks, or_else(said, NOTHING_SAID)))
    yield b"\n"


def escaped(text: str) -> str:
    """The text as Markdown that reads as it; not for the start of a line.

    Programs that turn every bare `name@host` into a link after they have read the Markdown, as some
    hosts of code do, cannot be kept from it.
    """
    text = _MARKUP.sub(r"\\\g<0>", text)
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    return text
