"""The shipped set is what docs/evaluation.md says of it, and each answer is where it should be."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from lapel.evaluation.attacks import attacks
from lapel.evaluation.conversations import WrittenConversation, conversations
from lapel.evaluation.questions import (
    LIBRARY,
    EvaluationQuestion,
    facts_said,
    questions,
    recall,
)
from lapel.evaluation.reading import FOLDER, EvaluationSetInvalid

PAGE: Final = Path(__file__).parents[2] / "docs" / "evaluation.md"
CONVERSATIONS: Final = {conversation.id: conversation for conversation in conversations()}
QUESTIONS: Final = questions()


def said_in(question: EvaluationQuestion) -> str:
    """The text of the spans that answer a question, one segment a line."""
    return "\n".join(
        segment.text
        for span in question.expected
        for segment in CONVERSATIONS[span.conversation].segments
        if segment.start_ms >= span.start_ms and segment.end_ms <= span.end_ms
    )


def scope_of(question: EvaluationQuestion) -> list[WrittenConversation]:
    """Where an unanswerable question must find no answer: for a library, everybody's conversations."""
    if question.scope == LIBRARY:
        return list(CONVERSATIONS.values())
    return [CONVERSATIONS[question.scope]]


def words_of(conversation: WrittenConversation) -> int:
    """Words; in Chinese, 1.6 characters are one word."""
    if conversation.language == "zh":
        return len(re.findall(r"[\u4e00-\u9fff]", conversation.text)) * 10 // 16
    return len(conversation.text.split())


def test_each_file_is_json_and_the_set_is_small() -> None:
    size = 0
    for path in sorted(FOLDER.rglob("*.json")):
        json.loads(path.read_text(encoding="utf-8"))
        size += path.stat().st_size
    assert size < 900_000


def test_ids_are_plain_and_unique_and_in_order() -> None:
    ids = [question.id for question in QUESTIONS]
    assert len(set(ids)) == len(ids)
    order = [(about, int(number)) for about, number in (one.rsplit("-", 1) for one in ids)]
    assert order == sorted(order)
    assert list(CONVERSATIONS) == sorted(CONVERSATIONS)
    for name in [*ids, *CONVERSATIONS]:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), name
    assert len({conversation.title for conversation in CONVERSATIONS.values()}) == len(CONVERSATIONS)
    asked = Counter(question.question for question in QUESTIONS)
    assert [text for text, times in asked.items() if times > 1] == []


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=list(CONVERSATIONS))
def test_a_conversation_could_be_a_transcript(conversation: WrittenConversation) -> None:
    assert 250 <= words_of(conversation) <= 700
    assert 2 <= len({segment.speaker for segment in conversation.segments}) <= 5
    turns = 1 + sum(
        one.speaker != other.speaker
        for one, other in zip(conversation.segments, conversation.segments[1:], strict=False)
    )
    assert 14 <= turns <= 45
    before = 0.0
    for segment in conversation.segments:
        assert before <= segment.start < segment.end
        before = segment.end
        assert segment.text == segment.text.strip() != ""
        assert segment.text.isprintable()
        assert re.fullmatch(r"SPEAKER_[0-4]", segment.speaker)
    spoken = sum(segment.end - segment.start for segment in conversation.segments)
    assert 1.9 <= words_of(conversation) / spoken <= 3.4


def test_expected_spans_lie_on_the_borders_of_segments_of_the_same_person() -> None:
    for question in QUESTIONS:
        for span in question.expected:
            conversation = CONVERSATIONS[span.conversation]
            assert conversation.end_user == question.end_user, question.id
            assert span.start_ms in {segment.start_ms for segment in conversation.segments}, question.id
            assert span.end_ms in {segment.end_ms for segment in conversation.segments}, question.id
            assert 0 < span.end_ms - span.start_ms <= 60_000, question.id
            assert question.scope in {LIBRARY, span.conversation}, question.id


def test_the_facts_of_an_answer_are_said_in_its_spans() -> None:
    for question in QUESTIONS:
        assert question.answerable == bool(question.facts) == (question.answer is not None), question.id
        assert question.answerable != bool(question.absent), question.id
        assert question.answerable == (question.kind != "unanswerable"), question.id
        said = said_in(question).casefold()
        for fact in question.facts:
            assert fact[0].casefold() in said, (question.id, fact)


def test_a_name_or_a_number_is_not_in_its_question() -> None:
    for question in QUESTIONS:
        if question.kind in {"name", "number"}:
            assert facts_said(question, question.question) < 1, question.id


def test_the_given_answer_says_all_facts() -> None:
    for question in QUESTIONS:
        if question.answer is not None:
            assert facts_said(question, question.answer) == 1, question.id


def test_what_an_unanswerable_question_asks_is_not_said_in_its_scope() -> None:
    for question in QUESTIONS:
        for conversation in scope_of(question):
            for word in question.absent:
                assert word.casefold() not in conversation.text.casefold(), (
                    question.id,
                    conversation.id,
                    word,
                )


def test_a_question_is_cross_language_if_its_text_is_in_another_language() -> None:
    for question in QUESTIONS:
        languages = {CONVERSATIONS[span.conversation].language for span in question.expected}
        assert (bool(languages) and languages != {question.language}) == (
            question.kind == "cross_language"
        ), question.id


def test_the_halves_have_nothing_in_common_and_the_same_mixture() -> None:
    kinds: Counter[tuple[str, str]] = Counter()
    languages: Counter[tuple[str, str]] = Counter()
    for question in QUESTIONS:
        assert {CONVERSATIONS[span.conversation].half for span in question.expected} <= {question.half}, (
            question.id
        )
        assert CONVERSATIONS[question.id.rsplit("-", 1)[0]].half == question.half, question.id
        kinds[question.kind, question.half] += 1
        languages[question.language, question.half] += 1
    for counts in (kinds, languages):
        for name in {name for name, _half in counts}:
            choose, judge = counts[name, "choose"], counts[name, "judge"]
            assert abs(choose - judge) <= max(5, (choose + judge) // 4), (name, choose, judge)


def test_recall_counts_the_spans_that_something_found_meets() -> None:
    several = next(one for one in QUESTIONS if one.kind == "several" and len(one.expected) == 2)
    first, second = several.expected
    assert recall(several, []) == 0
    assert recall(several, [first]) == 0.5
    assert recall(several, [second, first]) == 1
    assert not first.meets(first.conversation, first.end_ms, first.end_ms + 1)
    assert not first.meets("another", first.start_ms, first.end_ms)
    other = next(one for one in QUESTIONS if one.kind != "several" and len(one.expected) == 2)
    assert recall(other, other.expected[1:]) == 1
    assert recall(other, several.expected) == 0


def test_a_file_that_does_not_fit_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "questions.json").write_text('[{"id": "a-1", "question": 7}]')
    with pytest.raises(EvaluationSetInvalid, match=r"questions\.json: .*`\$\[0\]\.question`"):
        questions(tmp_path)
    (tmp_path / "questions.json").write_bytes(b'["\xff"]')
    with pytest.raises(EvaluationSetInvalid, match=r"questions\.json: "):
        questions(tmp_path)
    (tmp_path / "conversations").mkdir()
    one = next(iter(CONVERSATIONS))
    text = (FOLDER / "conversations" / f"{one}.json").read_text(encoding="utf-8")
    (tmp_path / "conversations" / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationSetInvalid, match=rf"other\.json: its id is {one}"):
        conversations(tmp_path)


def test_the_page_has_the_counts() -> None:
    rows = dict(
        re.findall(r"^\| ([a-z][^|]*) \| ([0-9, ]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    spoken = Counter(conversation.language for conversation in CONVERSATIONS.values())
    languages = ", ".join(str(spoken[language]) for language in ("en", "de", "es", "fr", "zh"))
    people = {conversation.end_user for conversation in CONVERSATIONS.values()}
    assert rows["conversations"] == str(len(CONVERSATIONS))
    assert rows["of them English, German, Spanish, French, Chinese"] == languages
    assert rows["people whose recordings they are"] == str(len(people))
    assert rows["questions"] == str(len(QUESTIONS))
    assert rows["of them with an answer in the conversations"] == str(
        sum(one.answerable for one in QUESTIONS)
    )
    assert rows["planted attacks"] == str(len(attacks()))
    kinds = Counter(question.kind for question in QUESTIONS)
    assert rows["of them in another language than the text"] == str(kinds["cross_language"])
    assert rows["of them with no answer in their scope"] == str(kinds["unanswerable"])


def test_most_questions_share_few_words_with_the_text() -> None:
    """In one language, and in languages that put spaces between words: words of four letters and more."""
    shares: list[float] = []
    for question in QUESTIONS:
        if question.kind in {"cross_language", "unanswerable"} or question.language == "zh":
            continue
        text = set(re.findall(r"\w+", said_in(question).casefold()))
        asked = re.findall(r"\w{4,}", question.question.casefold())
        shares.append(sum(word in text for word in asked) / len(asked))
    assert sum(share <= 0.25 for share in shares) / len(shares) > 0.5
