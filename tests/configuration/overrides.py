"""Overrides made up by Hypothesis, from the table of sections."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lapel.slices.configuration.kinds import Flag, Idle, Kind, Several, Text, Value, Whole, WordKind, Words
from lapel.slices.configuration.sections import SECTIONS, Section

TEXTS = {
    "start": ["00:00", "22:30"],
    "end": ["06:00", "23:59"],
    "timezone": ["UTC", "Europe/Zurich"],
    "language": ["de", "de-CH"],
    "languages": ["de", "es", "zh-Hans"],
}


def values(kind: Kind, name: str) -> st.SearchStrategy[Value]:
    """What a field of this kind takes, as it is stored."""
    match kind:
        case Flag():
            return st.booleans()
        case Whole():  # of which Limit is one
            return st.integers(kind.least, kind.most)
        case Idle():
            return st.sampled_from([-1, 0]) | st.integers(kind.least, kind.most)
        case WordKind():  # of which Strictest is one
            return st.sampled_from(kind.words)
        case Words():
            return st.lists(st.sampled_from(kind.words), min_size=1, max_size=len(kind.words))
        case Several():
            return st.lists(st.sampled_from(TEXTS[name]), min_size=1, max_size=kind.most)
        case Text():
            return st.sampled_from(TEXTS.get(name, ["tmpl_general_notes", "own-1"]))
        case _:
            raise AssertionError(f"teach tests/configuration/overrides.py to make a {kind}")


def overrides(section: Section) -> st.SearchStrategy[dict[str, Value]]:
    """Any override of a section, flat; often an empty one."""
    every = {field.path: values(field.kind, field.path.rpartition(".")[2]) for field in section.fields}
    return st.fixed_dictionaries({}, optional=every)


def of_any_section(count: int) -> st.SearchStrategy[tuple[Section, list[dict[str, Value]]]]:
    """A section and so many overrides of it."""
    return st.sampled_from(list(SECTIONS.values())).flatmap(
        lambda section: st.tuples(
            st.just(section), st.lists(overrides(section), min_size=count, max_size=count)
        )
    )


def paths(document: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted paths of the values of a document; of an object that is null, its own."""
    found: set[str] = set()
    for name, value in document.items():
        if isinstance(value, dict):
            found |= paths(value, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found
