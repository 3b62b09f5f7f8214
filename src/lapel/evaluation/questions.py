"""The questions about the written conversations, and the places that answer them."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from lapel.evaluation.conversations import Half, WrittenLanguage
from lapel.evaluation.reading import FOLDER, read_file

LIBRARY: Final = "library"
"""The scope of a question about all conversations of its end user."""

QuestionKind = Literal["paraphrase", "name", "number", "term", "cross_language", "several", "unanswerable"]
"""What the question is like.

paraphrase: it says the thing in other words. name, number: the answer is one of several similar ones.
term: it has the very words of the text, such as a code, a drug or a product.
cross_language: the question's language is not the text's. several: a whole answer needs more than one place.
unanswerable: nothing in its scope answers it.
"""


class SupportSpan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a conversation that supports an answer: milliseconds, on the borders of segments."""

    conversation: str
    start_ms: int
    end_ms: int

    def meets(self, conversation: str, start_ms: int, end_ms: int) -> bool:
        """Whether a part of this conversation has a moment in common with this span."""
        return conversation == self.conversation and start_ms < self.end_ms and end_ms > self.start_ms


class EvaluationQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question.

    `scope` is LIBRARY, or the id of the one conversation that is asked about. `expected` has every turn that
    answers it; it is empty, and `answer` null, for an unanswerable question. `facts` are what a right answer
    has to say; each is a list of its forms, such as "fifty" and "50". The first form is written in the
    expected spans. `absent` are words that an answer would need, and that are nowhere in the scope.
    """

    id: str
    question: str
    language: WrittenLanguage
    kind: QuestionKind
    half: Half
    end_user: str
    scope: str
    expected: list[SupportSpan]
    answer: str | None
    facts: list[list[str]]
    absent: list[str]

    @property
    def answerable(self) -> bool:
        """Whether something in the scope answers the question."""
        return bool(self.expected)


def facts_said(question: EvaluationQuestion, answer: str) -> float:
    """The part of the question's facts (0 to 1) that the answer says in one of their forms.

    Upper and lower case do not matter. For an unanswerable question it is 0.0.
    """
    if not question.facts:
        return 0.0
    said = answer.casefold()
    return sum(any(form.casefold() in said for form in fact) for fact in question.facts) / len(question.facts)


def questions(folder: Path = FOLDER) -> list[EvaluationQuestion]:
    """All questions in the order of their ids. Raises EvaluationSetInvalid if the file does not fit."""
    return read_file(folder / "questions.json", list[EvaluationQuestion])


def recall(question: EvaluationQuestion, found: list[SupportSpan]) -> float:
    """How much of the support (0 to 1) the places in `found` meet.

    For a question of the kind `several` it is the part of the expected spans that have a moment in common
    with something found. For all other questions one expected span is enough: 0.0 or 1.0. For an unanswerable
    question it is 1.0.
    """
    if not question.expected:
        return 1.0
    met = sum(
        any(span.meets(one.conversation, one.start_ms, one.end_ms) for one in found)
        for span in question.expected
    )
    return met / len(question.expected) if question.kind == "several" else float(met > 0)
