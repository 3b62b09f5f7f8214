"""The XML documents of S3: parsing the few that clients send, writing those that the store answers.

Source: Amazon S3 API reference, under the name of each call.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import quote
from xml.parsers import expat
from xml.sax.saxutils import escape

from lapel.embedded.s3.files.objects import ObjectFacts
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.clock import timestamp

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_MAX_DEPTH = 16


@dataclass(slots=True)
class Element:
    """An element without its namespace; `text` is the text directly in it."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> list["Element"]:
        """Return the children of this name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str | None:
        """Return the text of the first child of this name."""
        return next((child.text for child in self.children if child.name == name), None)


def read(body: bytes, root: str) -> Element:
    """Read a document whose root has this name. Raises `S3Error` MalformedXML, also for a DOCTYPE."""
    top = Element("")
    stack = [top]

    def start(name: str, _: object) -> None:
        if len(stack) > _MAX_DEPTH:
            raise S3Error("MalformedXML", "The XML is nested too deeply.")
        element = Element(name.rpartition(":")[2])
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> NoReturn:
        raise S3Error("MalformedXML", "The XML has a document type, which could name entities.")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise S3Error("MalformedXML", "The body is not the expected XML document.") from None
    if top.children[0].name != root:
        raise S3Error("MalformedXML", f"The body is not a {root}.")
    return top.children[0]


def tag(name: str, value: str | int) -> str:
    """Return `<name>value</name>`, escaped."""
    return f"<{name}>{escape(str(value))}</{name}>"


def document(root: str, *content: str) -> bytes:
    """Return a whole document from already written elements."""
    return f"{_HEAD}<{root}{_NAMESPACE}>{''.join(content)}</{root}>".encode()


def url_or_plain(encoding: str | None, text: str) -> str:
    """Return a key as a listing shows it: percent-encoded if the client asked for that."""
    return quote(text, safe="/") if encoding == "url" else text


def moment(milliseconds: int) -> str:
    """Return milliseconds since 1970 as `2026-01-15T12:00:00.000Z`."""
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC))


def copy_result(facts: ObjectFacts) -> bytes:
    """Return the answer of CopyObject, with the checksums of the copy. All are of the whole object."""
    return document(
        "CopyObjectResult",
        tag("ETag", f'"{facts.etag}"'),
        tag("LastModified", moment(facts.modified)),
        *(tag(f"Checksum{name.upper()}", value) for name, value in facts.checksums.items()),
        *([tag("ChecksumType", "FULL_OBJECT")] if facts.checksums else []),
    )


def delete_result(deleted: Iterable[str], errors: Iterable[tuple[str, S3Error]]) -> bytes:
    """Return the answer of DeleteObjects."""
    return document(
        "DeleteResult",
        *(f"<Deleted>{tag('Key', key)}</Deleted>" for key in deleted),
        *(
            f"<Error>{tag('Key', key)}{tag('Code', error.code)}{tag('Message', error.message)}</Error>"
            for key, error in errors
        ),
    )
