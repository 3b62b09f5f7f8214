"""docs/uploads.md lists the content types that the code takes, with their other names."""

from __future__ import annotations

from pathlib import Path

from lapel.slices.recordings.content_types import ALIASES, CONTENT_TYPES

PAGE = (Path(__file__).parents[2] / "docs" / "uploads.md").read_text(encoding="utf-8")


def table() -> str:
    rows = [
        f"| `{media_type}` | `{name}` | {', '.join(f'`{each}`' for each in others) or '-'} |"
        for media_type, known in CONTENT_TYPES.items()
        for name in known
        for others in [[alias for alias, plain in ALIASES.items() if plain == name]]
    ]
    return "\n".join(["| `type` | `content_type` | other names |", "|---|---|---|", *rows, ""])


def test_the_page_lists_every_content_type() -> None:
    assert table() in PAGE, f"the table of docs/uploads.md is to be:\n\n{table()}"


def test_other_names_lead_to_content_types_and_are_none_themselves() -> None:
    known = {name for each in CONTENT_TYPES.values() for name in each}
    assert set(ALIASES.values()) <= known
    assert not known & set(ALIASES)
