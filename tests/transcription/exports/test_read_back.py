"""Whatever was said comes back from every format as text, in its order, by readers that are not ours."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import unicodedata
import zipfile
from datetime import timedelta
from itertools import pairwise
from typing import Any

import docx
import html5lib
import msgspec
import pytest
import srt
import webvtt
from hypothesis import example, given, settings
from markdown_it import MarkdownIt

from lapel.slices.transcription.exports.content import NOTHING_SAID, Document
from lapel.slices.transcription.exports.formats import FORMATS
from lapel.slices.transcription.speech.transcript import Segment
from tests.transcription.exports.support import (
    HOSTILE,
    documents,
    letters,
    readable_turns,
    segment,
    spoken,
    title_of,
    turns,
)

EMPTY = Document(title="", segments=[])
ALL_HOSTILE = Document(
    title=" ".join(HOSTILE),
    recorded_at="[x](y) <i>",
    model="</dl><script>",
    segments=[
        segment(i, i + 1, text, f"SPEAKER_{i % 3}" if i % 4 else None) for i, text in enumerate(HOSTILE)
    ],
)
several = settings(max_examples=60, deadline=None)
some = settings(max_examples=25, deadline=None)


def rendered(name: Any, document: Document) -> str:
    return FORMATS[name].render(document).decode()


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_plain_text(document: Document) -> None:
    text = rendered("txt", document)
    assert text == "" or (text.endswith("\n") and not text.endswith("\n\n"))
    expected = readable_turns(document)
    labels = sorted({speaker for speaker, _ in expected if speaker}, key=len, reverse=True)
    found: list[tuple[str, str]] = []
    for paragraph in text.split("\n\n") if text else []:
        label = next((each for each in labels if letters(paragraph).startswith(f"{each}:")), "")
        found.append((label, letters(paragraph)[len(label) + bool(label) :]))
    assert turns(found) == expected


def markdown_blocks(text: str) -> list[tuple[str, list[Any]]]:
    """(kind of block, its inline tokens), with all that could be active in the reader switched on."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(text)
    allowed = {"heading", "paragraph", "bullet_list", "list_item"}
    assert {re.sub("_(open|close)$", "", each.type) for each in tokens} <= {*allowed, "inline"}
    blocks: list[tuple[str, list[Any]]] = []
    for opened, inside in pairwise(tokens):
        if inside.type == "inline":
            children = inside.children or []
            assert {each.type for each in children} <= {"text", "strong_open", "strong_close"}
            blocks.append((opened.tag, children))
    return blocks


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_markdown(document: Document) -> None:
    blocks = markdown_blocks(rendered("md", document))
    texts = [(tag, "".join(each.content for each in children), children) for tag, children in blocks]
    assert texts[0][0] == "h1"
    assert letters(texts[0][1]) == title_of(document)
    begin = next(place for place, each in enumerate(texts) if each[:2] == ("h2", "Transcript"))
    found: list[tuple[str, str]] = []
    for tag, text, children in texts[begin + 1 :]:
        assert tag == "p"
        if text == NOTHING_SAID:
            continue
        bold = children[0].type == "text" and children[0].content == "" and children[1].type == "strong_open"
        bold = bold or children[0].type == "strong_open"
        assert sum(each.type == "strong_open" for each in children) == bold
        speaker = text.partition(" (")[0] if bold else ""
        said = re.sub(r"\A ?\(\d+:\d\d:\d\d\) ", "", text[len(speaker) :])
        found.append((letters(speaker), letters(said)))
    assert turns(found) == readable_turns(document)


def assert_cues_follow(times: list[tuple[float, float]]) -> None:
    """None overlaps the next, none is shorter than a tenth of a second or longer than seven."""
    assert all(0.1 <= round(end - start, 3) <= 7 for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def assert_lines_fit(lines: list[str]) -> None:
    assert 1 <= len(lines) <= 2
    for line in lines:
        assert line == line.strip() != ""
        shown = [each for each in line if unicodedata.category(each) not in ("Mn", "Me", "Cf")]
        assert sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in shown) <= 42


# SubRip has no way to write the arrow of its timing lines in a text.
ARROW = "->→"


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_subrip(document: Document) -> None:
    found = list(srt.parse(rendered("srt", document), ignore_errors=False))
    assert [each.index for each in found] == list(range(1, len(found) + 1))
    assert_cues_follow(
        [(each.start / timedelta(seconds=1), each.end / timedelta(seconds=1)) for each in found]
    )
    for each in found:
        assert_lines_fit(each.content.split("\n"))
    text = "".join(text for _, text in spoken(document, ARROW))
    assert letters("".join(each.content for each in found), ARROW) == text


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_webvtt(document: Document) -> None:
    text = rendered("vtt", document)
    found = webvtt.from_string(text, strict=True).captions
    assert text.count("-->") == len(found)
    assert_cues_follow([(seconds(each.start), seconds(each.end)) for each in found])
    said: list[tuple[str, str]] = []
    for each in found:
        voice, content = "", each.raw_text
        if tag := re.fullmatch(r"<v ([^<>\n]+)>([^<>]*)</v>", content):
            voice, content = tag.groups()
        assert "<" not in content
        assert_lines_fit(html.unescape(content).split("\n"))
        said.append((letters(html.unescape(voice)), letters(html.unescape(content))))
    assert turns(said) == turns(spoken(document))


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_csv(document: Document) -> None:
    raw = FORMATS["csv"].render(document)
    assert raw.startswith(b"\xef\xbb\xbfstart,end,speaker,confidence,text\r\n")
    text = raw.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    said = [(letters(row["speaker"], "'"), letters(row["text"], "'")) for row in rows]
    assert said == [(letters(who, "'"), letters(text, "'")) for who, text in spoken(document)]
    assert all(0 <= float(row["start"]) < float(row["end"]) for row in rows)
    # As spreadsheets cut it, in either kind of locale.
    for separator in ",;":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            for cell in row:
                assert (
                    not re.match(r"[\s'\"\u200b]*[=+\-@＝＋－＠\t\r]", cell.removeprefix("'"))
                    or cell[0] == "'"
                )


def assert_segments_match(found: list[dict[str, Any]], document: Document) -> None:
    assert [letters(each["text"]) for each in found] == [text for _, text in spoken(document)]
    for each in found:
        assert set(each) <= {"start", "end", "text", "speaker", "confidence", "words"}
        assert each["end"] > each["start"] >= 0
        assert 0 <= each["confidence"] <= 1
        assert each["text"].strip()
        assert not re.search("[\x00-\x1f\x7f-\x9f]", each["text"])
        assert each.get("speaker", "x")
        assert each.get("words", [1]) != []
    msgspec.convert(found, list[Segment], strict=True)


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_json(document: Document) -> None:
    whole = json.loads(rendered("json", document))
    assert_segments_match(whole["segments"], document)
    assert whole["full_text"] == " ".join(each["text"] for each in whole["segments"])
    assert whole["word_count"] == len(whole["full_text"].split())
    assert letters(whole["title"]) == title_of(document)


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_json_lines(document: Document) -> None:
    text = rendered("ndjson", document)
    assert text == "" or text.endswith("\n")
    assert_segments_match([json.loads(line) for line in text.split("\n")[:-1]], document)


ELEMENTS = {*("html", "head", "meta", "title", "style"), *("body", "header", "main", "div")}
ELEMENTS |= {"h1", "dl", "dt", "dd", "p", "b", "time"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "dir", "datetime"}


@several
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_html(document: Document) -> None:
    # A strict parser: any error in the page is raised.
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    page = parser.parse(rendered("html", document))
    for element in page.iter():
        assert element.tag in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
    assert re.fullmatch("[A-Za-z]+(-[A-Za-z]+)?", page.attrib["lang"])
    assert letters(page.findtext("head/title") or "") == title_of(document)
    assert page.findtext("body/header/h1") == page.findtext("head/title")
    found: list[tuple[str, str]] = []
    for turn in page.iterfind(".//div"):
        head, said = turn.findall("p")
        assert not list(said)
        found.append((letters(head.findtext("b") or ""), letters(said.text or "")))
    assert turns(found) == readable_turns(document)


@some
@given(documents)
@example(EMPTY)
@example(ALL_HOSTILE)
def test_word(document: Document) -> None:
    raw = FORMATS["docx"].render(document)
    found = docx.Document(io.BytesIO(raw))
    title = letters(found.core_properties.title)
    assert title
    assert title_of(document).startswith(title)
    paragraphs = found.paragraphs
    assert letters(paragraphs[0].text) == title_of(document)
    begin = next(
        place for place, each in enumerate(paragraphs) if each.style and each.style.name == "Heading 1"
    )
    said: list[tuple[str, str]] = []
    for each in paragraphs[begin + 1 :]:
        if each.text == NOTHING_SAID:
            continue
        head, _, text = each.text.partition("\n")
        speaker = each.runs[0].text if each.runs[0].bold else ""
        assert re.fullmatch(r" ?\d+:\d\d:\d\d", head[len(speaker) :])
        said.append((letters(speaker), letters(text)))
    assert turns(said) == readable_turns(document)


@pytest.mark.parametrize("name", FORMATS)
def test_a_segment_of_100_000_characters_is_whole(name: Any) -> None:
    text = "So, we said that. " * 5_000 + "终" * 10_000
    document = Document(title="long", segments=[segment(0, 3600, text, "SPEAKER_0")])
    raw = FORMATS[name].render(document)
    if name == "docx":
        raw = zipfile.ZipFile(io.BytesIO(raw)).read("word/document.xml")
    plain = re.sub(r"<[^>]*>|^\d+$|^[\d:.,]+ --> [\d:.,]+$", "", raw.decode(), flags=re.MULTILINE)
    assert letters(text) in letters(plain)
