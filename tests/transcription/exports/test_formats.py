"""What is said about each format, and what the files hold beside the text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from typing import Any, get_args

import docx
import html5lib
import msgspec
import pytest
from docx.oxml.parser import OxmlElement

from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from lapel.slices.transcription.exports.html import CONTENT_SECURITY_POLICY
from lapel.slices.transcription.speech.transcript import Transcript
from tests.transcription.exports.support import segment

MEETING = Document.of(
    Transcript(
        segments=[
            segment(0.4, 3, "Good morning.", "SPEAKER_0"),
            segment(3.2, 5, "Shall we start?", "SPEAKER_0"),
            segment(5.5, 6.4, "Yes.", "SPEAKER_1", [(5.5, 6.4, "Yes.")]),
        ],
        language="en",
        language_probability=0.99,
        model="base",
        duration_ms=3_723_400,
    ),
    title="Weekly sync",
    recorded_at="2026-11-24 16:40 UTC",
)
ARABIC = Document(title="اجتماع", segments=[segment(0, 2, "مرحبا، OK", "SPEAKER_0")], language="ar")


def test_every_format_of_the_contract_is_there() -> None:
    contract = ["txt", "md", "srt", "vtt", "csv", "json", "ndjson", "html", "docx"]
    assert list(FORMATS) == contract
    assert list(get_args(FormatName)) == contract
    for name, form in FORMATS.items():
        assert form.name == form.extension == name
        assert form.media_type.startswith(("text/", "application/"))
        assert ("charset=utf-8" in form.media_type) == (name not in ("json", "ndjson", "docx"))


def test_json_is_the_transcription_of_the_contract() -> None:
    assert json.loads(FORMATS["json"].render(MEETING)) == {
        "title": "Weekly sync",
        "recorded_at": "2026-11-24 16:40 UTC",
        "duration_ms": 3_723_400,
        "language": "en",
        "model": "base",
        "warnings": [],
        "full_text": "Good morning. Shall we start? Yes.",
        "word_count": 6,
        "confidence": 0.9,
        "segments": [
            {"start": 0.4, "end": 3.0, "text": "Good morning.", "confidence": 0.9, "speaker": "SPEAKER_0"},
            {"start": 3.2, "end": 5.0, "text": "Shall we start?", "confidence": 0.9, "speaker": "SPEAKER_0"},
            {
                "start": 5.5,
                "end": 6.4,
                "text": "Yes.",
                "confidence": 0.9,
                "speaker": "SPEAKER_1",
                "words": [{"start": 5.5, "end": 6.4, "word": "Yes.", "confidence": 0.9}],
            },
        ],
    }


def test_names_of_speakers_are_shown_to_people_and_told_to_programs() -> None:
    named = Document(title="x", segments=[segment(0, 1, "Hi.", "SPEAKER_0")], speakers={"SPEAKER_0": "Ada"})
    assert FORMATS["txt"].render(named) == b"Ada: Hi.\n"
    whole = json.loads(FORMATS["json"].render(named))
    assert whole["speakers"] == {"SPEAKER_0": "Ada"}
    assert whole["segments"][0]["speaker"] == "SPEAKER_0"


def test_a_paragraph_ends_with_the_speaker_a_pause_or_its_length() -> None:
    document = Document(
        title="x",
        segments=[
            *(segment(n, n + 1, f"{n} " + "a" * 397) for n in range(4)),
            segment(4, 5, "after a thousand characters"),
            segment(9, 10, "after a pause"),
            segment(10, 11, "and on"),
        ],
    )
    paragraphs = FORMATS["txt"].render(document).decode().split("\n\n")
    assert [paragraph.split(" a")[0] for paragraph in paragraphs] == ["0", "3", "after"]
    assert paragraphs[-1] == "after a pause and on\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("=SUM(A1:A9)", "'=SUM(A1:A9)"),
        ("  -5 degrees", "'-5 degrees"),
        ("+49 30", "'+49 30"),
        ("@here", "'@here"),
        ("'=1", "''=1"),
        ("\u00a0=1", "'=1"),
        ("＝1", "'＝1"),
        ("so; =1", "so;' =1"),
        ("a = b - c", "a = b - c"),
        ("say -5", "say -5"),
    ],
)
def test_what_a_spreadsheet_would_compute_is_text(said: str, expected: str) -> None:
    table = FORMATS["csv"].render(Document(title="x", segments=[segment(0, 1, said)])).decode("utf-8-sig")
    assert table.splitlines()[1] == f"0.000,1.000,,0.9000,{expected}"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("It's 12:30, 3 - 2 = 1.", "It's 12:30, 3 - 2 \\= 1."),
        ("https://a.example", "https\\:\\//a\\.example"),
        ("*a* _b_ `c` [d](e)", "\\*a\\* \\_b\\_ \\`c\\` \\[d\\](e)"),
        ("<b> & co", "&lt;b&gt; &amp; co"),
    ],
)
def test_markdown_says_what_was_said(said: str, expected: str) -> None:
    text = FORMATS["md"].render(Document(title="x", segments=[segment(0, 1, said)])).decode()
    assert text.splitlines()[-1] == f"(0:00:00) {expected}"


def test_the_page_allows_its_own_style_and_nothing_else() -> None:
    page = html5lib.parse(FORMATS["html"].render(MEETING), namespaceHTMLElements=False)
    style = page.findtext("head/style") or ""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ) == CONTENT_SECURITY_POLICY
    (policy,) = page.findall("head/meta[@http-equiv='Content-Security-Policy']")
    assert policy.get("content") == CONTENT_SECURITY_POLICY
    assert "url(" not in style
    assert "@import" not in style
    assert page.get("lang") == "en"


@pytest.mark.parametrize(
    ("language", "expected"),
    [("fr", "fr"), ("zh-Hant", "zh-Hant"), (None, "en"), ('"><x>', "en"), ("", "en")],
)
def test_the_page_says_its_language(language: str | None, expected: str) -> None:
    page = FORMATS["html"].render(Document(title="x", segments=[], language=language)).decode()
    assert f'<html lang="{expected}">' in page


def word(document: Document) -> Any:
    return docx.Document(io.BytesIO(FORMATS["docx"].render(document)))


def test_word_shows_title_facts_and_turns() -> None:
    made = word(MEETING)
    assert [(each.style.name, each.text) for each in made.paragraphs] == [
        ("Title", "Weekly sync"),
        ("No Spacing", "Recorded: 2026-11-24 16:40 UTC"),
        ("No Spacing", "Duration: 1:02:03"),
        ("No Spacing", "Language: en"),
        ("No Spacing", "Model: base"),
        ("Heading 1", "Transcript"),
        ("Normal", "SPEAKER_0 0:00:00\nGood morning. Shall we start?"),
        ("Normal", "SPEAKER_1 0:00:05\nYes."),
    ]
    assert [each.bold for each in made.paragraphs[-1].runs] == [True, None, None, None]


def test_word_properties_are_the_recordings() -> None:
    properties = word(MEETING).core_properties
    assert (properties.title, properties.language) == ("Weekly sync", "en")
    assert (properties.author, properties.comments, properties.last_modified_by) == ("", "", "")
    # The library's template says 2013.
    assert (properties.created, properties.modified) == (None, None)
    assert len(word(Document(title="x" * 999, segments=[])).core_properties.title) == 255
    archive = zipfile.ZipFile(io.BytesIO(FORMATS["docx"].render(MEETING)))
    for name in archive.namelist():
        assert b"python-docx" not in archive.read(name)


def test_word_sets_arabic_from_right_to_left() -> None:
    made = word(ARABIC)
    archive = zipfile.ZipFile(io.BytesIO(FORMATS["docx"].render(ARABIC)))
    body = archive.read("word/document.xml").decode()
    assert body.count("<w:bidi/>") == 2
    assert all(run.font.rtl for run in made.paragraphs[-1].runs)
    assert 'w:bidi="ar"' in archive.read("word/styles.xml").decode()
    assert "<w:bidi/>" not in word(MEETING).element.xml


@pytest.mark.parametrize("names", [{}, {"SPEAKER_0": "A & <B>", "SPEAKER_1": "آدا"}])
def test_each_turn_is_in_word_as_its_library_writes_it(names: dict[str, str]) -> None:
    turns = [(None, "%(time)s & <w:p>"), ("SPEAKER_0", "50 % \u00a0&amp; done"), ("SPEAKER_1", "مرحبا، <OK>")]
    segments = [segment(9 * n, 9 * n + 1, text, who) for n, (who, text) in enumerate(turns)]
    made = word(Document(title="x", segments=segments, speakers=names))
    bodies = made.paragraphs[-3:]
    for line, (who, text), time in zip(bodies, turns, ("0:00:00", "0:00:09", "0:00:18"), strict=True):
        own = docx.Document().add_paragraph()
        own.add_run(names.get(who or "", who or "Unknown speaker")).bold = True
        own.add_run(" ")
        own.add_run(time).add_break()
        own.add_run(" ".join(text.split()))
        if who == "SPEAKER_1":
            own.paragraph_format.element.get_or_add_pPr().append(OxmlElement("w:bidi"))
            for run in own.runs:
                run.font.rtl, run.font.cs_bold = True, run.bold
        assert line._p.xml == own._p.xml


@pytest.mark.parametrize("document", [MEETING, ARABIC, Document(title="x", segments=[])])
def test_json_is_written_as_one_object_is(document: Document) -> None:
    raw = FORMATS["json"].render(document)
    assert raw == msgspec.json.format(raw, indent=2) + b"\n"


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_said_is_said(name: FormatName) -> None:
    raw = FORMATS[name].render(Document(title="Silence", segments=[segment(0, 1, "\x00 \t")]))
    if name == "docx":
        assert word(Document(title="Silence", segments=[])).paragraphs[-1].text == "No speech was recognized."
    elif name in ("md", "html"):
        assert b"No speech was recognized." in raw
    else:
        expected = {"vtt": b"WEBVTT\n", "csv": b"\xef\xbb\xbfstart,end,speaker,confidence,text\r\n"}
        assert raw == expected.get(name, b"") or (name == "json" and json.loads(raw)["segments"] == [])
