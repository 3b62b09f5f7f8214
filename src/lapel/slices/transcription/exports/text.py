"""Plain text, and Markdown in which the spoken text is never markup."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from lapel.slices.transcription.exports.content import NOTHING_SAID, joined, or_else
from lapel.slices.transcription.speech.transcript import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.slices.transcription.exports.content import Document

# Characters that are markup anywhere in a line, in CommonMark or one of its usual extensions. Characters that
# are markup only at the start of a line (`-`, `1.`) are not here, because no line starts with spoken text.
_MARKUP = re.compile(r"[\\`*_{}\[\]#|~$^=@]|(?<!\d):(?=[\w/+-])|\.(?=\w)|/(?=/)|%(?=%)")
# Written as entities, because the oldest Markdown programs know no backslash before these.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def txt(document: Document) -> Iterator[bytes]:
    """A paragraph for each turn, with empty lines between. UTF-8 without a byte order mark. If nothing was
    said, the file is empty."""
    turns = (f"{who}: {text}" if who else text for _, who, text in document.paragraphs())
    some = False
    for piece in joined("\n\n", turns):
        some = True
        yield piece
    if some:
        yield b"\n"


def md(document: Document) -> Iterator[bytes]:
    """Title, facts, and a paragraph for each turn, with its speaker in bold and its time."""
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
    """The text as Markdown that shows exactly this text; not for the start of a line.

    Some code hosts turn every bare `name@host` into a link after they have parsed the Markdown; escaping
    cannot prevent that.
    """
    text = _MARKUP.sub(r"\\\g<0>", text)
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    return text
