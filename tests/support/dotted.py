"""Values of nested documents, named by dotted paths."""

from __future__ import annotations

from typing import Any


def within(path: str, value: Any) -> dict[str, Any]:
    """A document with one value at a path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def at(document: Any, path: str) -> Any:
    """What a document has at a path."""
    for name in path.split("."):
        document = document[name]
    return document
