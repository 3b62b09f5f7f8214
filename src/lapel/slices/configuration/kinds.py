"""The types of the configuration's fields: their valid values, and how two levels are merged.

Every `merge` here is associative: it does not matter which two neighbouring levels are merged first.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lapel.foundation.core.errors import InvalidRequest

# A field's value, as JSON has it.
Value: TypeAlias = bool | int | str | list[str]
Schema: TypeAlias = dict[str, Any]


class Kind(ABC):
    """A type of field. The nearest level wins, unless a subclass overrides `merge`."""

    # The merge rule, in words.
    rule: ClassVar[str] = "the nearest level"
    # Whether a broader level may win, because its value is stricter.
    limits: ClassVar[bool] = False

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """The JSON Schema of the field's values."""

    @abstractmethod
    def check(self, value: object, param: str) -> Value:
        """The value to store. Raises InvalidRequest with this `param` for an invalid value."""

    def merge(self, lower: Value, upper: Value) -> Value:  # noqa: ARG002 - for those that need it
        """Merge the checked values of a broader level (`lower`) and of a nearer level (`upper`)."""
        return upper

    def doubt(self, value: Value) -> str | None:  # noqa: ARG002 - for those that need it
        """Why a valid value may not work, as the end of a sentence; None if nothing speaks against it."""
        return None

    def is_laxer(self, before: Value | None, after: Value | None) -> bool:  # noqa: ARG002 - as above
        """Whether a level's change from `before` to `after` (None: unset) may make the merged value laxer."""
        return False

    def over_default(self, default: Value, value: Value) -> Value:  # noqa: ARG002 - for those that need it
        """Put the levels' value over the built-in default. A default is no limit, so levels may be laxer."""
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
    """One number of a fixed set of whole numbers."""

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
    """Seconds of idle time until a part sleeps, `least` to `most`; 0: at once; -1: never.

    A value above 0 and below `least` becomes `least`.
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
    """A whole number; the smallest of all levels wins, and `unlimited` is above every number."""

    unlimited: int | None = None
    rule: ClassVar[str] = "the smallest of all levels"
    limits: ClassVar[bool] = True

    def merge(self, lower: Value, upper: Value) -> Value:
        limits = [cast("int", each) for each in (lower, upper) if each != self.unlimited]
        return min(limits, default=upper)


@dataclass(frozen=True)
class WordKind(Kind):
    """One word of a fixed set of words."""

    words: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        return {"enum": list(self.words)}

    def check(self, value: object, param: str) -> Value:
        if not isinstance(value, str) or value not in self.words:
            raise refused(param, f"must be {_choice(self.words)}")
        return value


@dataclass(frozen=True)
class Strictest(WordKind):
    """One word of a fixed set, which is ordered from lax to strict; the strictest of all levels wins."""

    rule: ClassVar[str] = "the strictest of all levels"
    limits: ClassVar[bool] = True

    def merge(self, lower: Value, upper: Value) -> Value:
        return max(cast("str", lower), cast("str", upper), key=self.words.index)

    def is_laxer(self, before: Value | None, after: Value | None) -> bool:
        # A level that does not set the field limits it as little as one that sets the laxest word.
        was, is_now = (0 if each is None else self.words.index(cast("str", each)) for each in (before, after))
        return is_now < was


@dataclass(frozen=True)
class Words(Kind):
    """A list of words of a fixed set. It has at least one word, and at most as many as the set."""

    words: tuple[str, ...]
    rule: ClassVar[str] = "the nearest level, position by position"

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
        entry = WordKind(self.words)
        return [cast("str", entry.check(each, f"{param}[{at}]")) for at, each in enumerate(listed)]

    def merge(self, lower: Value, upper: Value) -> Value:
        broad, near = cast("list[str]", lower), cast("list[str]", upper)
        return [*near, *broad[len(near) :]]

    def over_default(self, default: Value, value: Value) -> Value:
        return self.merge(default, value)


@dataclass(frozen=True)
class Text(Kind):
    """A string. `form` is its regular expression (ASCII), and `meaning` says the same in words."""

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


@dataclass(frozen=True)
class Several(Kind):
    """A list of 1 to `most` texts. It is one value: the nearest level's list stands as a whole."""

    entry: Text
    most: int

    @property
    def schema(self) -> Schema:
        return {"type": "array", "items": self.entry.schema, "minItems": 1, "maxItems": self.most}

    def check(self, value: object, param: str) -> Value:
        listed = cast("list[object]", value) if isinstance(value, list) else []
        if not 1 <= len(listed) <= self.most:
            raise refused(param, f"must be a list of 1 to {self.most}")
        return [cast("str", self.entry.check(each, f"{param}[{at}]")) for at, each in enumerate(listed)]


@dataclass(frozen=True)
class Zone(Text):
    """A time zone. Any name of this form is valid; a name that is not in the IANA database is doubtful."""

    def doubt(self, value: Value) -> str | None:
        if _is_zone(str(value)) or not _is_zone("Europe/London"):  # this machine may have no database
            return None
        return "is no time zone of the IANA database, so it may have no effect"


@lru_cache(maxsize=1024)
def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # folders of the database raise an OSError
        return False
    return True


def whole(value: object, param: str) -> int:
    """A JSON integer, also with a decimal point (`256.0`). Raises InvalidRequest for any other value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused(param, "must be a whole number")
    return value


def refused(param: str, reason: str) -> InvalidRequest:
    """The error for an invalid value of a field."""
    return InvalidRequest(f"`{param}` {reason}.", param=param, reason=reason)


def _choice(words: tuple[str, ...]) -> str:
    return f"`{words[0]}`" if len(words) == 1 else f"one of `{'`, `'.join(words)}`"
