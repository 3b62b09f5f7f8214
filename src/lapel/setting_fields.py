"""The fields of the settings: each has a default, a description, a parser and an environment variable.

docs/decisions/0017 says why Lapel uses no library for settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, cast

PREFIX = "LAPEL_"
T = TypeVar("T")


class SettingsError(ValueError):
    """A setting cannot be used; the message names the variable, the fault and the remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class Doc:
    """One setting: its text in the documentation, its parser, and whether it is secret.

    `internal`: `lapel serve` sets it for its own children; operators do not.
    """

    text: str
    parse: Callable[[str], object]
    secret: bool = False
    internal: bool = False


def setting(
    default: T, text: str, parser: Callable[[str], object], *, secret: bool = False, internal: bool = False
) -> T:
    """A field of Settings with this default and a Doc made of the other arguments."""
    return dataclasses.field(default=default, metadata={"doc": Doc(text, parser, secret, internal)})


def variable(name: str) -> str:
    """Environment variable of the setting `name`."""
    return PREFIX + name.upper()


def as_text(value: object) -> str:
    """The text of a value, as its environment variable holds it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", value)))
    return str(value)


def flag(name: str) -> str:
    """Flag of the setting `name` on a command line."""
    return f"--{name.replace('_', '-')}"


def parsed(name: str, raw: str, doc: Doc, *, as_flag: bool = False) -> object:
    """The value of a setting from the text of its variable, or with `as_flag` of its flag.

    Raises SettingsError when the value is not valid.
    """
    try:
        return doc.parse(raw)
    except ValueError as fault:
        shown = "(hidden)" if doc.secret else repr(raw)
        given = f"{flag(name)} {shown}" if as_flag else f"{variable(name)} = {shown}"
        raise SettingsError(f"{given} {fault}.") from None


def default_data_dir(env: Mapping[str, str]) -> Path:
    """Data folder when none is given: $XDG_DATA_HOME/lapel, else ~/.local/share/lapel."""
    share = env.get("XDG_DATA_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".local" / "share")
    return Path(share).absolute() / "lapel"
