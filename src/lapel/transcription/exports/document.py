"""A document for Word and its like."""

from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING, Protocol, cast

from lapel.transcription.exports.content import NOTHING_SAID, clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docx.document import Document as WordDocument
    from docx.text.paragraph import Paragraph as WordParagraph

    from lapel.transcription.exports.content import Document, Paragraph

# The properties' own limit (ECMA-376).
_MAX_PROPERTY = 255


class _Element(Protocol):
    """What we use of the library's XML elements, which have no types."""

    def get_or_add_pPr(self) -> _Element: ...  # noqa: N802

    def append(self, element: _Element, /) -> None: ...

    def iter(self, tag: str, /) -> Iterator[_Element]: ...

    def remove(self, element: _Element, /) -> None: ...

    def set(self, key: str, value: str, /) -> None: ...


class _Part(Protocol):
    element: _Element


class _Package(Protocol):
    def part_related_by(self, reltype: str, /) -> _Part: ...


def docx(document: Document) -> bytes:
    """Title, facts, and a paragraph a turn: the speaker in bold, the time, in the next line the words."""
    # Its XML library takes a tenth of a second to import, for one format of nine.
    import docx as library  # noqa: PLC0415

    made = library.Document()
    _describe(made, document)
    _direct(made.add_heading(document.title, 0), document.title)
    for heading, value in document.facts():
        line = made.add_paragraph(style="No Spacing")
        line.add_run(f"{heading}: ").bold = True
        line.add_run(value)
    made.add_heading("Transcript", 1)
    # Added at the end, each paragraph would be looked for past all others: 10 s for 25,000 of them.
    last = made.add_paragraph()
    waiting = None
    for paragraph in document.paragraphs():
        if waiting:
            _say(last.insert_paragraph_before(), waiting)
        waiting = paragraph
    if waiting:
        _say(last, waiting)
    else:
        last.add_run(NOTHING_SAID)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def _say(line: WordParagraph, paragraph: Paragraph) -> None:
    if paragraph.speaker:
        line.add_run(paragraph.speaker).bold = True
        line.add_run(" ")
    line.add_run(clock(paragraph.start)).add_break()
    line.add_run(paragraph.text)
    _direct(line, paragraph.text)


def _direct(line: WordParagraph, text: str) -> None:
    """Set from right to left what is written so: Word does not tell by itself."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    if strong != "L":
        from docx.oxml.parser import OxmlElement  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]

        element = cast("_Element", line.paragraph_format.element)
        element.get_or_add_pPr().append(cast("_Element", OxmlElement("w:bidi")))
        for run in line.runs:
            run.font.rtl = True
            run.font.cs_bold = run.bold


def _describe(made: WordDocument, document: Document) -> None:
    """What file managers show, instead of what the library's template says of itself."""
    from docx.opc.constants import RELATIONSHIP_TYPE  # noqa: PLC0415
    from docx.oxml.ns import qn  # noqa: PLC0415

    properties = made.core_properties
    properties.title = document.title[:_MAX_PROPERTY]
    properties.author = ""
    properties.comments = ""
    # The template's; the time of the export is nothing that is known here.
    package = cast("_Package", made.part.package)
    element = package.part_related_by(RELATIONSHIP_TYPE.CORE_PROPERTIES).element
    for name in ("dcterms:created", "dcterms:modified"):
        for each in list(element.iter(qn(name))):
            element.remove(each)
    if document.language:
        properties.language = document.language
        # And for the spelling check.
        for each in cast("_Element", made.styles.element).iter(qn("w:lang")):
            for script in ("w:val", "w:eastAsia", "w:bidi"):
                each.set(qn(script), document.language)
