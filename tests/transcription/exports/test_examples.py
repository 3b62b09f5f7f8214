"""The examples of docs/exports.md are what comes out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from tests.transcription.exports.support import segment

PAGE = (Path(__file__).parents[3] / "docs" / "exports.md").read_text()
CONVERSATION = Document(
    title="Weekly sync",
    recorded_at="2026-11-24 16:40 UTC",
    duration_ms=11_200,
    language="en",
    model="base",
    segments=[
        segment(0.4, 1.4, "Good morning.", "SPEAKER_0"),
        segment(
            1.6,
            8.8,
            "We agreed to release the first version on the fifteenth of March, and the usage report later.",
            "SPEAKER_0",
        ),
        segment(9.1, 10.1, "Sure.", "SPEAKER_1", [(9.1, 10.1, "Sure.")]),
    ],
)


@pytest.mark.parametrize("name", [each for each in FORMATS if each != "docx"])
def test_the_example_of_the_page_is_the_file(name: FormatName) -> None:
    (printed,) = re.findall(rf"^```{name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    made = FORMATS[name].render(CONVERSATION).decode("utf-8-sig").replace("\r\n", "\n")
    if name == "html":
        # The page shows its heart.
        made = made[made.index("<main>") : made.index("</main>")] + "</main>\n"
    assert printed == made


def test_every_format_has_a_row_and_a_chapter() -> None:
    for name in FORMATS:
        assert f"\n| `{name}` |" in PAGE
        assert f"\n## {name}\n" in PAGE
