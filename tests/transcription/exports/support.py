"""Documents to export, honest and hostile, and how what was read back is compared with them."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
from hypothesis import strategies as st

from lapel.slices.transcription.exports.content import UNKNOWN_SPEAKER, Document
from lapel.slices.transcription.speech.transcript import Segment, Word

if TYPE_CHECKING:
    from collections.abc import Iterable

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "</style></title></main>",
    "<!-- ]]> <![CDATA[",
    "&lt;b&gt; &amp; &#64; &copy",
    "[link](javascript:alert(1)) ![x](https://a.example/x.png)",
    "[ref]: https://a.example 'title'",
    "<https://a.example> www.a.example ftp://a.example a@b.example",
    "# heading ## `code` ``` *em* __strong__ ~~gone~~ ~~~",
    "- item",
    "1. one",
    "> quote",
    "a | b",
    "| --- | --- |",
    "\\* \\",
    "---",
    "=1+1",
    "  @SUM(A1)",
    "-2+3",
    "'=x",
    '"=x',
    "a;=cmd|' /C calc'!A0",
    "＝1",
    "WEBVTT",
    "NOTE this",
    "STYLE",
    "12",
    "2\n00:00:01,000 --> 00:00:02,000",
    "00:00:01.000 --> 00:00:02.000 line:0",
    "1:2:3 - > 4:5:6 --> -->",
    "{\\an8}<font size=99>big</font>",
    "<v Somebody>I am</v>",
    "\x00\x01\x0b\x1b[31mred\x7f\x85\x9f",
    "\ud800 lone \udfff",
    "\ufffe\uffff\ufdd0\ufeff",
    "a\u2028b\u2029c\r\nd\te",
    "\u00a0\u00a0fixed\u00a0! \u3000 \u2003",
    "\u2065 \U00013439",
    "exe\u202esupo\u2066\u200b\u200d",
    "你好，世界。今天我们讨论新移动应用程序的发布日期「以及第二版」的报告。",
    "東京タワーへ行きましょうか？はい、ぜひ！",
    "วันนี้เราได้พูดคุยเกี่ยวกับวันเปิดตัวแอปพลิเคชันมือถือใหม่",
    "مرحبا بالعالم، كيف حالك؟",
    "👩‍👩‍👧‍👦👍🏽🇨🇭 e\u0301\u0301",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "0:00:01 SPEAKER_1: no, **SPEAKER_0** (0:00:02) yes",
)

# No characters; and of the format characters of Unicode 15.1 (category Cf, and U+2065, reserved for one)
# all but the two joiners. Python's own table is that of an older version.
NOT_KEPT = re.compile(
    "[\ufdd0-\ufdef\ufffe\uffff"
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b\u200e-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f]"
)


_texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(), max_size=40),
    st.lists(st.sampled_from((*HOSTILE, "Yes.", "well,", "we", "should", "go")), max_size=25).map(" ".join),
)
_times = st.one_of(
    st.floats(0, 108_000),  # thirty hours
    st.sampled_from((0.0, -1.0, 5.0, 5.0005, 359_999.9996, 1e300, float("inf"), float("nan"))),
)
_shares = st.floats(0, 1) | st.sampled_from((float("nan"), -1.0, 2.0))


@st.composite
def words_of(draw: st.DrawFn, text: str) -> list[Word]:
    """Words that are the text's, or not quite."""
    spoken = text.split()
    if draw(st.booleans()):
        spoken = [*draw(st.lists(_texts, max_size=3)), *spoken[1:]]
    return [
        Word(start=draw(_times), end=draw(_times), word=each, confidence=draw(_shares))
        for each in spoken[:12]
    ]


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Any segment, whatever was promised of it."""
    text = draw(_texts)
    return Segment(
        start=draw(_times),
        end=draw(_times),
        text=text,
        confidence=draw(_shares),
        speaker=draw(st.sampled_from((msgspec.UNSET, "SPEAKER_0", "SPEAKER_1", "SPEAKER_2", " \x00"))),
        words=draw(st.just(msgspec.UNSET) | words_of(text)),
    )


documents = st.builds(
    Document,
    title=_texts,
    segments=st.lists(segments(), max_size=6),
    language=st.none() | st.sampled_from(("en", "pt-BR", '"><script>', "\x00", "yue")),
    duration_ms=st.none() | st.integers(0, 10**12),
    recorded_at=st.none() | _texts,
    model=st.none() | _texts,
    speakers=st.just({}) | st.just({"SPEAKER_1": "=Zoë <b>&\x00 O'Neil_x*", "SPEAKER_2": " "}),
)


def segment(
    start: float,
    end: float,
    text: str,
    speaker: str | None = None,
    words: list[tuple[float, float, str]] | None = None,
) -> Segment:
    """An honest segment, told in short."""
    return Segment(
        start=start,
        end=end,
        text=text,
        confidence=0.9,
        speaker=speaker or msgspec.UNSET,
        words=msgspec.UNSET
        if words is None
        else [Word(start=a, end=b, word=word, confidence=0.9) for a, b, word in words],
    )


def letters(text: str, without: str = "") -> str:
    """What must survive every format: all but spaces and what no file should hold."""
    return "".join(
        each
        for each in text
        if not each.isspace()
        and unicodedata.category(each) not in ("Cc", "Cs")
        and not NOT_KEPT.match(each)
        and ord(each) & 0xFFFE != 0xFFFE
        and each not in without
    )


def visible(text: str) -> bool:
    """Whether there is anything to be seen; what has no letter is left out."""
    return any(each.isprintable() for each in letters(text))


def title_of(document: Document) -> str:
    """The letters of the title that is shown."""
    return letters(document.title) if visible(document.title) else "Transcript"


def spoken(document: Document, without: str = "") -> list[tuple[str, str]]:
    """(speaker, letters) of each segment that has text, as readable formats name the speakers."""
    names = {each: letters(name) for each, name in document.speakers.items() if visible(name)}
    found: list[tuple[str, str]] = []
    for each in document.segments:
        if visible(each.text):
            speaker = "" if each.speaker is msgspec.UNSET else letters(each.speaker)
            found.append((names.get(speaker, speaker), letters(each.text, without)))
    return found


def turns(said: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same with what one speaker says in a row joined."""
    return [
        (speaker, "".join(text for _, text in group))
        for speaker, group in groupby(said, key=lambda each: each[0])
    ]


def readable_turns(document: Document) -> list[tuple[str, str]]:
    """The turns as formats for people show them: they tell that a speaker is not known, if others are."""
    said = spoken(document)
    unknown = letters(UNKNOWN_SPEAKER) if any(speaker for speaker, _ in said) else ""
    return turns((speaker or unknown, text) for speaker, text in said)
