"""Cues as an editor of subtitles would cut them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.subtitles import Cue, cues, srt, vtt
from lapel.slices.transcription.speech.transcript import Segment
from tests.transcription.exports.support import segment

# A word every half second.
SPEECH = (
    "We agreed to release the first version on the fifteenth of March, and the usage report later. "
    "The payment module still has two open bugs. Maria will look at them tomorrow."
)


def cut(*segments: Segment) -> list[Cue]:
    return list(cues(Document(title="x", segments=segments).tidy()))


def shown(*segments: Segment) -> list[tuple[float, float, str]]:
    return [(each.start / 1000, each.end / 1000, " | ".join(each.lines)) for each in cut(*segments)]


def evenly(text: str, start: float, step: float) -> list[tuple[float, float, str]]:
    return [(start + step * n, start + step * (n + 1), word) for n, word in enumerate(text.split())]


def test_a_long_segment_is_cut_into_cues_of_two_lines_at_the_times_of_its_words() -> None:
    assert shown(segment(0, 15.5, SPEECH, words=evenly(SPEECH, 0, 0.5))) == [
        (0.0, 6.0, "We agreed to release the first | version on the fifteenth of March,"),
        (6.0, 12.5, "and the usage report later. The | payment module still has two open bugs."),
        (12.5, 15.5, "Maria will look at them tomorrow."),
    ]


def test_without_words_time_goes_by_the_letters() -> None:
    found = shown(segment(0, 10, "a" * 40 + " " + "b" * 40 + " " + "c" * 20 + " " + "d" * 20))
    assert found == [
        (0.0, 6.667, f"{'a' * 40} | {'b' * 40}"),
        (6.667, 10.0, f"{'c' * 20} {'d' * 20}"),
    ]


def test_words_that_are_not_those_of_the_text_still_tell_its_time() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    said = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"
    found = cut(segment(100, 108, text, words=evenly(said, 100, 0.5)))
    assert found[0].start == 100_000
    assert found[-1].end == 108_000
    assert [each.start for each in found] == sorted({each.start for each in found})


def test_no_cue_stays_in_a_pause() -> None:
    words = [(0.0, 0.5, "Wait."), (4.0, 4.5, "Now"), (4.5, 5.0, "go.")]
    assert shown(segment(0, 5, "Wait. Now go.", words=words)) == [(0.0, 1.0, "Wait."), (4.0, 5.0, "Now go.")]


def test_a_short_cue_stays_until_it_is_read_or_the_next_one_comes() -> None:
    found = shown(
        segment(1, 1.2, "Yes."), segment(1.5, 1.7, "No."), segment(9, 9.1, "Well, I would not say so.")
    )
    assert found == [(1.0, 1.5, "Yes."), (1.5, 2.5, "No."), (9.0, 10.47, "Well, I would not say so.")]


def test_no_cue_stays_for_more_than_seven_seconds() -> None:
    assert shown(segment(0, 30, "Hm.")) == [(0.0, 7.0, "Hm.")]


def test_people_who_talk_at_once_are_shown_one_after_the_other() -> None:
    found = shown(segment(0, 5, "I think that"), segment(2, 2.4, "Sorry?"), segment(2.2, 4, "Go on."))
    assert found == [(0.0, 2.0, "I think that"), (2.0, 2.4, "Sorry?"), (2.4, 4.0, "Go on.")]


@pytest.mark.parametrize("count", [2, 50])
def test_segments_of_one_time_are_still_shown_each(count: int) -> None:
    found = cut(*(segment(5, 5, f"number {number}") for number in range(count)))
    assert len(found) == count
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(each.end - each.start >= 200 for each in found)


def test_hours_beyond_99() -> None:
    document = Document(title="x", segments=[segment(360_000.5, 360_002, "late")]).tidy()
    assert b"".join(vtt(document)).decode() == "WEBVTT\n\n100:00:00.500 --> 100:00:02.000\nlate\n"
    assert b"".join(srt(document)).decode() == "1\n100:00:00,500 --> 100:00:02,000\nlate\n"


def test_chinese_is_cut_between_characters_but_not_before_punctuation_or_in_a_latin_word() -> None:
    text = (
        "今天我们讨论了新移动应用程序的发布日期、市场营销活动的预算以及第二版中每月报告的添加。"
        "我用Python写代码。"
    )
    lines = [line for each in cut(segment(0, 12, text)) for line in each.lines]
    assert lines == [
        "今天我们讨论了新移动应用程序的发布日期、",
        "市场营销活动的预算以及",
        "第二版中每月报告的添加。",
        "我用Python写代码。",
    ]
    assert "".join(lines) == text
    # Wherever the line happens to end.
    for shift in range(20):
        moved = [line for each in cut(segment(0, 12, "好" * shift + text)) for line in each.lines]
        assert not any(line.startswith(("、", "。")) for line in moved)
        assert any("Python" in line for line in moved)


def test_japanese_brackets_stay_with_what_they_hold() -> None:
    text = "あ" * 20 + "「い」" + "う" * 18 + "。"
    lines = [line for each in cut(segment(0, 5, text)) for line in each.lines]
    assert not any(line.endswith("「") or line.startswith(("」", "。")) for line in lines)


def test_thai_is_cut_where_its_words_start_and_never_before_a_mark() -> None:
    words = [
        "วันนี้",
        "เรา",
        "ได้",
        "พูดคุย",
        "เกี่ยวกับ",
        "วัน",
        "เปิดตัว",
        "แอป",
        "มือถือ",
        "ใหม่",
        "งบประมาณ",
        "สำหรับ",
        "แคมเปญ",
    ]
    text = "".join(words)
    said = [(n * 0.4, n * 0.4 + 0.4, word) for n, word in enumerate(words)]
    lines = [line for each in cut(segment(0, 5.2, text, words=said)) for line in each.lines]
    assert len(lines) > 1
    starts = {"".join(words[:n]) for n in range(len(words) + 1)}
    assert all("".join(lines[:n]) in starts for n in range(len(lines) + 1))


def test_an_emoji_of_several_characters_stays_whole() -> None:
    family = "👩‍👩‍👧‍👦"
    lines = [line for each in cut(segment(0, 9, family * 60)) for line in each.lines]
    assert all(line == family * (len(line) // len(family)) for line in lines)


def test_a_word_longer_than_a_line_is_cut_into_even_parts() -> None:
    lines = [line for each in cut(segment(0, 5, "x" * 90)) for line in each.lines]
    assert lines == ["x" * 30] * 3


def test_no_line_starts_with_what_french_writes_after_a_space() -> None:
    for shift in range(20):
        text = "a" * shift + " Qu’est-ce que vous voulez dire par là\u00a0? Rien !"
        lines = [line for each in cut(segment(0, 4, text)) for line in each.lines]
        assert "là ?" in " | ".join(lines)
        assert "Rien !" in " | ".join(lines)


def test_right_to_left_text_is_not_touched() -> None:
    text = "مرحبا بالعالم، كيف حالك؟"
    document = Document(title="x", segments=[segment(0, 2, text, "SPEAKER_0")])
    assert b"".join(vtt(document.tidy())).decode() == (
        f"WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v SPEAKER_0>{text}</v>\n"
    )


def test_webvtt_escapes_what_is_said_and_who_says_it() -> None:
    document = Document(
        title="x", segments=[segment(0, 2, "<b> & --> x", "SPEAKER_0")], speakers={"SPEAKER_0": "R&D <lead>"}
    )
    assert b"".join(vtt(document.tidy())).decode().splitlines()[3] == (
        "<v R&amp;D &lt;lead&gt;>&lt;b&gt; &amp; --&gt; x</v>"
    )
