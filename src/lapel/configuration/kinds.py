"""What a field of a configuration may hold, and what counts when two levels set it.

Every `merge` here is associative: it does not matter in which order neighbouring levels are joined.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast

from lapel.foundation.errors import InvalidRequest

# A field's value, as JSON has it.
Value: TypeAlias = bool | int | str | list[str]
Schema: TypeAlias = dict[str, Any]


class Kind(ABC):
    """A type of field, of which the nearest level counts unless it says otherwise."""

    # What counts when several levels set it, in words.
    rule: ClassVar[str] = "the nearest level"

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """The JSON Schema of its values."""

    @abstractmethod
    def check(self, value: object, param: str) -> Value:
        """The value to store. Raises InvalidRequest, naming `param`."""

    def merge(self, lower: Value, upper: Value) -> Value:  # noqa: ARG002 - for those that need it
        """What counts of a broader level's value and a nearer level's, both of which were checked."""
        return upper

    def over_default(self, default: Value, value: Value) -> Value:  # noqa: ARG002 - for those that need it
        """What counts over the built-in default: no bound for the levels, they may be laxer than it."""
        return value


@dataclass(frozen=True)
class Flag(Kind):
    """`true` or `false`."""

    @property
    def schema(self) -> Schema:
        return {"type": "boolean"}

    def check(self, value: object, param: str) -> Value:
        if not isinstance(value, bool):
            raise refused(param, "must be true or false")
        return value


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def check(self, value: object, param: str) -> Value:
        number = whole(value, param)
        if not self.least <= number <= self.most:
            raise refused(param, f"must be {self.least} to {self.most}")
        return number


@dataclass(frozen=True)
class Number(Kind):
    """One of some whole numbers."""

    numbers: tuple[int, ...]

    @property
    def schema(self) -> Schema:
        return {"enum": list(self.numbers)}

    def check(self, value: object, param: str) -> Value:
        number = whole(value, param)
        if number not in self.numbers:
            raise refused(param, f"must be one of {', '.join(map(str, self.numbers))}")
        return number


@dataclass(frozen=True)
class Idle(Kind):
    """Seconds until something sleeps, `least` to `most`; 0: at once; -1: never.

    What is above 0 and shorter than `least` becomes `least`.
    """

    least: int
    most: int

    @property
    def schema(self) -> Schema:
        return {"type": "integer", "minimum": -1, "maximum": self.most}

    def check(self, value: object, param: str) -> Value:
        seconds = whole(value, param)
        if not -1 <= seconds <= self.most:
            raise refused(param, f"must be -1 (never), 0 (at once) or {self.least} to {self.most}")
        return self.least if 0 < seconds < self.least else seconds


@dataclass(frozen=True)
class Limit(Whole):
    """A whole number of which the smallest counts, whatever level it is on; `unlimited` is above all."""

    unlimited: int | None = None
    rule: ClassVar[str] = "the smallest of all levels"

    def merge(self, lower: Value, upper: Value) -> Value:
        limits = [cast("int", each) for each in (lower, upper) if each != self.unlimited]
        return min(limits, default=upper)


@dataclass(frozen=True)
class Word(Kind):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        return {"enum": list(self.words)}

    def check(self, value: object, param: str) -> Value:
        if not isinstance(value, str) or value not in self.words:
            raise refused(param, f"must be {_choice(self.words)}")
        return value


@dataclass(frozen=True)
class Strictest(Word):
    """One of some words, from lax to strict, of which the strictest counts, whatever level it is on."""

    rule: ClassVar[str] = "the strictest of all levels"

    def merge(self, lower: Value, upper: Value) -> Value:
        return max(cast("str", lower), cast("str", upper), key=self.words.index)


@dataclass(frozen=True)
class Words(Kind):
    """A list of one to all of some words."""

    words: tuple[str, ...]
    rule: ClassVar[str] = "the nearest level, place by place"

    @property
    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": {"enum": list(self.words)},
            "minItems": 1,
            "maxItems": len(self.words),
        }

    def check(self, value: object, param: str) -> Value:
        listed = cast("list[object]", value) if isinstance(value, list) else []
        if not 1 <= len(listed) <= len(self.words):
            raise refused(param, f"must be a list of 1 to {len(self.words)}")
        entry = Word(self.words)
        return [cast("str", entry.check(each, f"{param}[{at}]")) for at, each in enumerate(listed)]

    def merge(self, lower: Value, upper: Value) -> Value:
        broad, near = cast("list[str]", lower), cast("list[str]", upper)
        return [*near, *broad[len(near) :]]

    def over_default(self, default: Value, value: Value) -> Value:
        return self.merge(default, value)


@dataclass(frozen=True)
class Text(Kind):
    """A string of a form: `form` is its regular expression of ASCII, `meaning` says it in words."""

    form: str
    meaning: str
    longest: int

    @property
    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.form}$", "maxLength": self.longest}

    def check(self, value: object, param: str) -> Value:
        too_long = isinstance(value, str) and len(value) > self.longest
        if not isinstance(value, str) or too_long or re.fullmatch(self.form, value) is None:
            raise refused(param, f"must be {self.meaning}")
        return value


def whole(value: object, param: str) -> int:
    """A JSON integer, also one that is written with a point (`256.0`). Raises InvalidRequest."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused(param, "must be a whole number")
    return value


def refused(param: str, reason: str) -> InvalidRequest:
    """What a client hears of a value that a field does not take."""
    return InvalidRequest(f"`{param}` {reason}.", param=param, reason=reason)


def _choice(words: tuple[str, ...]) -> str:
    return f"`{words[0]}`" if len(words) == 1 else f"one of `{'`, `'.join(words)}`"
