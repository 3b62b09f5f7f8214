"""The `types` filter of lists and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


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
                f"No event has this type. The types are {', '.join(sorted(known))}; `recording.*` stands for "
                "all types that begin with `recording.`.",
                param="types",
            )
        found |= matching
    return None if "*" in wanted else sorted(found)


def _begins(name: str, pattern: str) -> bool:
    return pattern.endswith(".*") and name.startswith(pattern[:-1])
