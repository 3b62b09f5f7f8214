"""Every format says at its place that audio is missing, and no paragraph or cue goes on over it."""

from __future__ import annotations

import io
import json

import docx
import pytest

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from lapel.slices.transcription.exports.text import escaped
from lapel.slices.transcription.speech.transcript import Segment

GAP = TimedWarning(
    code="audio_gap",
    message="12.0 s of audio are missing at 0:00:05: a part of the file is damaged or lost.",
    start_ms=5_000,
    end_ms=5_000,
    missing_ms=12_000,
)
CUT = TimedWarning(code="audio_cut", message="The file breaks off at 0:00:09.", start_ms=9_000)
LEFT_OUT = TimedWarning(code="speakers_left_out", message="The speakers are left out. No weights.")
SEGMENTS = [
    Segment(start=1, end=4.9, text="I am having a big", confidence=0.9, speaker="SPEAKER_0"),
    Segment(start=5, end=8, text="twice last week.", confidence=0.9, speaker="SPEAKER_0", after_gap=True),
]


def document(segments: list[Segment] = SEGMENTS) -> Document:
    return Document(title="Visit", segments=segments, duration_ms=9_000, warnings=[LEFT_OUT, CUT, GAP])


def rendered(name: FormatName, of: Document | None = None) -> str:
    return FORMATS[name].render(of or document()).decode()


def test_txt() -> None:
    assert rendered("txt") == (
        f"SPEAKER_0: I am having a big\n\n[{GAP.message}]\n\nSPEAKER_0: twice last week.\n\n[{CUT.message}]\n"
    )


def test_md_and_html() -> None:
    found = rendered("md")
    assert f"(0:00:05) {escaped(f'[{GAP.message}]')}\n\n**SPEAKER\\_0** (0:00:05) twice" in found
    assert f'<p dir="auto">[{GAP.message}]</p>' in rendered("html")


def test_docx() -> None:
    lines = [each.text for each in docx.Document(io.BytesIO(FORMATS["docx"].render(document()))).paragraphs]
    at = lines.index(f"0:00:05\n[{GAP.message}]")
    assert lines[at - 1].endswith("\nI am having a big")
    assert lines[at + 1].endswith("\ntwice last week.")


def test_words_in_doubt_are_told_at_their_place_and_are_no_missing_audio() -> None:
    message = "The words from 0:00:05 to 0:00:08 are in doubt: the model repeated itself."
    doubt = TimedWarning(code="words_in_doubt", message=message, start_ms=5_000, end_ms=8_000)
    whole = Document(title="Visit", segments=SEGMENTS, duration_ms=9_000)
    told = Document(title="Visit", segments=SEGMENTS, duration_ms=9_000, warnings=[doubt])
    assert f"big\n\n[{message}]\n\nSPEAKER_0: twice" in rendered("txt", told)
    assert rendered("srt", told) == rendered("srt", whole)
    assert f"NOTE\n{message}\n" in rendered("vtt", told)
    assert "missing" not in rendered("vtt", told)


def test_json() -> None:
    found = json.loads(rendered("json"))
    assert [each["code"] for each in found["warnings"]] == ["speakers_left_out", "audio_cut", "audio_gap"]
    assert found["warnings"][2] == {
        "code": "audio_gap", "message": GAP.message, "start_ms": 5_000, "end_ms": 5_000, "missing_ms": 12_000
    }  # fmt: skip
    assert found["full_text"] == "I am having a big\ntwice last week."
    assert [each.get("after_gap") for each in found["segments"]] == [None, True]
    assert [json.loads(line).get("after_gap") for line in rendered("ndjson").splitlines()] == [None, True]


def test_srt() -> None:
    """The format has no comments, so that a cue says it."""
    assert rendered("srt") == (
        "1\n00:00:01,000 --> 00:00:04,900\nI am having a big\n\n"
        "2\n00:00:05,000 --> 00:00:05,735\n[12.0 s of audio missing]\n\n"
        "3\n00:00:05,735 --> 00:00:08,000\ntwice last week.\n\n"
        "4\n00:00:09,000 --> 00:00:10,000\n[audio missing]\n"
    )


def test_vtt() -> None:
    found = rendered("vtt")
    assert found.startswith(
        f"WEBVTT\n\nNOTE\n{LEFT_OUT.message}\n{CUT.message}\n{GAP.message}\n\n00:00:01.000 -->"
    )
    assert "\n[12.0 s of audio missing]\n" in found


def test_a_note_holds_nothing_that_ends_it() -> None:
    hostile = TimedWarning(code="x", message="a\n\nb --> c", start_ms=0)
    found = rendered("vtt", Document(title="x", segments=[], warnings=[hostile]))
    assert found.startswith("WEBVTT\n\nNOTE\na b → c\n\n")


def test_csv_stays_a_table_of_segments() -> None:
    assert len(rendered("csv").splitlines()) == 3


@pytest.mark.parametrize("name", FORMATS)
def test_without_warnings_nothing_is_said(name: FormatName) -> None:
    whole = Document(title="Visit", segments=SEGMENTS[:1], duration_ms=9_000)
    assert b"missing" not in FORMATS[name].render(whole)


def test_paragraphs_end_at_a_gap_without_its_warning() -> None:
    """It may be one of those that the last warning sums up."""
    bare = Document(title="Visit", segments=SEGMENTS)
    assert [each.text for each in bare.paragraphs()] == ["I am having a big", "twice last week."]
