"""The types of events that a caller may read, and those that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden, InvalidRequest
from lapel.slices.webhooks.service import scope_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def readable_types(text: str | None, known: AbstractSet[str], scopes: AbstractSet[str]) -> list[str] | None:
    """The types that a filter names; None for all types. Without a filter, all that the scopes allow.

    Raises InvalidRequest for a name that stands for none of the `known` types, and Forbidden when the filter
    names a type that the scopes do not allow.
    """
    wanted = types_of(text, known)
    lacking = {scope_of(name) for name in wanted or known} - scopes
    if not lacking:
        return wanted
    if wanted is not None:
        missing = ", ".join(f"`{scope}`" for scope in sorted(lacking))
        raise Forbidden(f"To read events of these types, this key needs {missing}.")
    return sorted(name for name in known if scope_of(name) in scopes)


def types_of(text: str | None, known: AbstractSet[str]) -> list[str] | None:
    """The types that a filter names; None for all types.

    Raises InvalidRequest for a name that stands for none of the `known` types.
    """
    wanted = {each.strip() for each in (text or "*").split(",")}
    found: set[str] = set()
    for each in wanted - {"*"}:
        matching = {name for name in known if name == each or _begins(name, each)}
        if not matching:
            raise InvalidRequest(
                f"No event has the type `{each}`. The types are {', '.join(sorted(known))}; "
                "`recording.*` stands for all types that begin with `recording.`.",
                param="types",
            )
        found |= matching
    return None if "*" in wanted else sorted(found)


def _begins(name: str, pattern: str) -> bool:
    return pattern.endswith(".*") and name.startswith(pattern[:-1])
