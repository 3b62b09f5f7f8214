"""A DOCX document, for Word and similar programs. Source: ECMA-376 (Office Open XML)."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from xml.sax.saxutils import escape

from lapel.slices.transcription.exports.content import NOTHING_SAID, or_else
from lapel.slices.transcription.speech.transcript import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer
    from docx.document import Document as WordDocument
    from docx.text.paragraph import Paragraph as WordParagraph

    from lapel.slices.transcription.exports.content import Document

# Longest value of a property, in characters (ECMA-376).
_MAX_PROPERTY = 255
# Bidirectional classes of characters with a strong direction.
_STRONG = ("L", "R", "AL")
_BODY = "word/document.xml"
_PARAGRAPH, _PARAGRAPH_END = "<w:p>", "</w:p>"
_NOTHING = f"<w:r><w:t>{NOTHING_SAID}</w:t></w:r>{_PARAGRAPH_END}"


class _Shape(NamedTuple):
    """The shape of a paragraph: with or without a speaker, and whether it is written from right to left."""

    speaker: bool
    from_right: bool


_SHAPES = tuple(_Shape(speaker, from_right) for speaker in (False, True) for from_right in (False, True))


class _Element(Protocol):
    """The methods of the library's XML elements that this module uses. The library has no types for them."""

    def get_or_add_pPr(self) -> _Element: ...  # noqa: N802

    def append(self, element: _Element, /) -> None: ...

    def iter(self, tag: str, /) -> Iterator[_Element]: ...

    def remove(self, element: _Element, /) -> None: ...

    def set(self, key: str, value: str, /) -> None: ...


class _DocumentPart(Protocol):
    element: _Element


class _Package(Protocol):
    def part_related_by(self, reltype: str, /) -> _DocumentPart: ...


def docx(document: Document) -> Iterator[bytes]:
    """Title, facts, and a paragraph for each turn: the speaker in bold, the time, then a line with the text.

    The library holds a document as a tree that is fifty times as large as the text. So the library makes only
    one paragraph of each shape, and each turn is written as a copy of one of these paragraphs.
    """
    file, out = zipfile.ZipFile(io.BytesIO(_frame(document))), _Out()
    with file, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for part in file.infolist():
            if part.filename != _BODY:
                made.writestr(part.filename, file.read(part))
                continue
            head, *shapes = file.read(part).decode().rsplit(_PARAGRAPH, len(_SHAPES))
            last, end, tail = shapes.pop().partition(_PARAGRAPH_END)
            templates = dict(zip(_SHAPES, (*shapes, last + end), strict=True))
            with made.open(part.filename, "w") as body:
                body.write(head.encode())
                for text in or_else(_turns(document, templates), _PARAGRAPH + _NOTHING):
                    body.write(text.encode())
                    yield out.taken()
                body.write(tail.encode())
            yield out.taken()
    yield out.taken()


class _Out(io.RawIOBase):
    """A file that is written sequentially. `taken` removes the bytes written so far and returns them."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: ReadableBuffer, /) -> int:
        before = len(self._written)
        self._written += data
        return len(self._written) - before

    def taken(self) -> bytes:
        """The bytes written since the last call."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _frame(document: Document) -> bytes:
    """The document with one paragraph of each shape instead of its turns."""
    # Imported on demand: its XML library takes a tenth of a second to import, for one format of nine.
    import docx as library  # noqa: PLC0415

    made = library.Document()
    _describe(made, document)
    _direct(made.add_heading(document.title, 0), document.title)
    for heading, value in document.facts():
        line = made.add_paragraph(style="No Spacing")
        line.add_run(f"{heading}: ").bold = True
        line.add_run(value)
    made.add_heading("Transcript", 1)
    for shape in _SHAPES:
        line = made.add_paragraph()
        if shape.speaker:
            line.add_run("%(speaker)s").bold = True
            line.add_run(" ")
        line.add_run("%(time)s").add_break()
        line.add_run("%(text)s")
        if shape.from_right:
            _turn_round(line)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def _turns(document: Document, templates: dict[_Shape, str]) -> Iterator[str]:
    for start, speaker, text in document.paragraphs():
        template = templates[_Shape(speaker=bool(speaker), from_right=_from_right(text))]
        said = {"speaker": escape(speaker or ""), "time": clock(start), "text": escape(text)}
        yield _PARAGRAPH + template % said


def _direct(line: WordParagraph, text: str) -> None:
    """Set the paragraph to right-to-left if its text is written so, because Word does not detect this."""
    if _from_right(text):
        _turn_round(line)


def _from_right(text: str) -> bool:
    return next((kind for kind in map(unicodedata.bidirectional, text) if kind in _STRONG), "L") != "L"


def _turn_round(line: WordParagraph) -> None:
    from docx.oxml.parser import OxmlElement  # noqa: PLC0415  # pyright: ignore[reportUnknownVariableType]

    element = cast("_Element", line.paragraph_format.element)
    element.get_or_add_pPr().append(cast("_Element", OxmlElement("w:bidi")))
    for run in line.runs:
        run.font.rtl = True
        run.font.cs_bold = run.bold


def _describe(made: WordDocument, document: Document) -> None:
    """Replace the properties of the library's template that file managers show."""
    from docx.opc.constants import RELATIONSHIP_TYPE  # noqa: PLC0415
    from docx.oxml.ns import qn  # noqa: PLC0415

    properties = made.core_properties
    properties.title = document.title[:_MAX_PROPERTY]
    properties.author = ""
    properties.comments = ""
    # These times are the template's; the time of the export is unknown here.
    package = cast("_Package", made.part.package)
    element = package.part_related_by(RELATIONSHIP_TYPE.CORE_PROPERTIES).element
    for name in ("dcterms:created", "dcterms:modified"):
        for each in list(element.iter(qn(name))):
            element.remove(each)
    if document.language:
        properties.language = document.language
        # Also for the spelling check.
        for each in cast("_Element", made.styles.element).iter(qn("w:lang")):
            for script in ("w:val", "w:eastAsia", "w:bidi"):
                each.set(qn(script), document.language)
