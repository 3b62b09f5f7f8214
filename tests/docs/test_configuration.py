"""docs/configuration.md tells of every section what the code's table says, word by word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lapel.slices.configuration.kinds import Flag, Idle, Kind, Limit, Several, Text, Whole, WordKind, Words
from lapel.slices.configuration.sections import LEVELS, SECTIONS, Section

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def taken(kind: Kind) -> str:
    """What a field takes, in words."""
    match kind:
        case Flag():
            return "`true`, `false`"
        case Limit(unlimited=None) | Whole():
            return f"{kind.least} to {kind.most}"
        case Idle():
            least = kind.least
            return f"{least} to {kind.most}; 0: at once; -1: never; 1 to {least - 1} become {least}"
        case WordKind():
            return ", ".join(f"`{word}`" for word in kind.words)
        case Words():
            return f"a list of 1 to {len(kind.words)} of {', '.join(f'`{word}`' for word in kind.words)}"
        case Several():
            return f"a list of 1 to {kind.most}, each {kind.entry.meaning}"
        case Text():  # Zone, too
            return kind.meaning
        case _:
            raise AssertionError(f"teach tests/docs/test_configuration.py to describe a {kind}")


def table(section: Section) -> str:
    """The part of the page about one section."""
    levels = ", ".join(f"`{level}`" for level in section.levels)
    rows = [
        f"| `{field.path}` | `{json.dumps(field.default)}` | {taken(field.kind)} | {field.kind.rule} "
        f"| {field.description} |"
        for field in section.fields
    ]
    return "\n".join(
        [
            f"### `{section.name}`",
            "",
            " ".join(
                [
                    f"{section.description} Obeyed by: the {section.obeyed_by}. Levels: {levels}.",
                    f"`merge_strategy`: `{section.merge_strategy}`.",
                ]
            ),
            "",
            "| field | default | takes | counts | meaning |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.name)
def test_every_section_is_told_as_it_is(section: Section) -> None:
    assert table(section) in PAGE


def test_no_other_section_is_told_of() -> None:
    assert [line[5:-1] for line in PAGE.splitlines() if line.startswith("### `")] == list(SECTIONS)


def test_the_page_lists_what_is_accepted_and_not_obeyed() -> None:
    listed = PAGE.partition("## Accepted, but not obeyed yet\n")[2].partition("\n## ")[0]
    assert [line for line in listed.splitlines() if line.startswith("| `")] == [
        f"| `{section.name}.{field.path}` | `{json.dumps(field.default)}` | {field.without_effect} |"
        for section in SECTIONS.values()
        for field in section.fields
        if field.without_effect
    ]


def test_every_level_is_told_in_order() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    told = [line.split("`")[1] for line in lines]
    assert [name for name in told if name in ("default", *LEVELS)] == ["default", *LEVELS]
