"""What a language service is asked and answers, whatever its dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request. `messages`: (role, text). `body`: the whole JSON."""

    model: str
    instructions: str
    messages: Sequence[tuple[str, str]]
    max_tokens: int
    schema: dict[str, Any] | None
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """Instructions and messages together."""
        return "\n".join([self.instructions, *(text for _, text in self.messages)])


@dataclass(frozen=True)
class Answer:
    """An answer. `finish`: `stop`, `length`, `filter`, or any other reason in the maker's own words.

    `refusal`: the model's words, in place of the text. `usage`: (input, output, cached); None tells none.
    """

    text: str
    finish: str = "stop"
    refusal: str | None = None
    usage: tuple[int, int, int] | None = (100, 20, 40)


class Refuse(Exception):
    """The service answers with this refusal."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def pieces_of(text: str, size: int) -> Iterator[str]:
    """The text in pieces of so many characters."""
    return (text[at : at + size] for at in range(0, len(text), size))


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema, itself included."""
    if isinstance(schema, dict):
        yield schema
        for name, each in schema.items():
            if name in ("properties", "$defs"):
                for inner in each.values():
                    yield from objects_in(inner)
            elif name in ("items", "anyOf", "allOf", "oneOf", "prefixItems", "not"):
                yield from objects_in(each)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects_in(inner)


def depth_of(schema: Any) -> int:
    """How deeply objects and arrays are nested in each other."""
    if not isinstance(schema, dict):
        return 0
    inner = [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", [])]
    return 1 + max((depth_of(each) for each in inner if each), default=0)
