"""Which sentences the extractive engine looks at, and which it answers with."""

from __future__ import annotations

from lapel.slices.ask.composing.extracts import (
    MOST_WORDS,
    AnswerCandidate,
    all_candidates,
    best_candidates,
    chosen,
)
from lapel.slices.ask.composing.passages import Passage
from lapel.slices.language_models.extractive.content_words import word_count
from lapel.slices.language_models.extractive.support import NEAR_THE_BEST, SUPPORTED
from lapel.slices.search.service import Sentence

TALK = [
    ("A", "Good morning, everybody, and welcome."),
    ("B", "Who pays for the kitchen?"),
    ("A", "Anderson does."),
    ("A", "He gave us 48,500 euros."),
    ("B", "The painters come on the day after."),
]


def passage(talk: list[tuple[str, str]], number: int = 1) -> Passage:
    """A passage whose sentences take a second each."""
    return Passage(
        number=number,
        recording_id=f"rec_{number}",
        title="The house",
        recorded_at=None,
        speaker=None,
        sentences=[
            Sentence(text=text, speaker=speaker, start_ms=1000 * at, end_ms=1000 * at + 900)
            for at, (speaker, text) in enumerate(talk)
        ],
    )


def texts(candidates: list[AnswerCandidate]) -> list[str]:
    """What they would answer."""
    return [each.place.window.text for each in candidates]


def test_a_candidate_has_two_sentences_of_one_speaker_and_no_question() -> None:
    found = all_candidates("Who pays for the kitchen?", [passage(TALK)])
    assert texts(found) == [
        "Good morning, everybody, and welcome.",
        "Anderson does.",
        "Anderson does. He gave us 48,500 euros.",
        "The painters come on the day after.",
    ]
    assert [each.place.cited_ms for each in found] == [0, 2000, 2000, 4000]
    # What was said right before it is embedded too, so that a short answer has its question.
    assert found[1].place.embedded == "Who pays for the kitchen? Anderson does."
    assert all_candidates("Who?", []) == []


def test_a_sentence_of_two_passages_is_one_candidate() -> None:
    found = all_candidates("Who pays?", [passage(TALK), passage(TALK)])
    assert len(found) == 4


def test_only_the_best_candidates_are_embedded() -> None:
    long = [("AB"[at % 2], f"The {at} kitchens of the house were delivered on some day.") for at in range(40)]
    best = best_candidates("Which kitchens were delivered?", [passage(long)])
    assert 1 < len(best) < 40
    assert sum(word_count(each.place.embedded) for each in best) <= MOST_WORDS
    endless = [("A", "kitchen " * 300)]
    assert len(best_candidates("Which kitchen?", [passage(endless)])) == 1


def test_an_answer_has_at_most_two_places_that_do_not_overlap() -> None:
    welcome, short, longer, painters = all_candidates("Who pays for the kitchen?", [passage(TALK)])
    near = SUPPORTED + NEAR_THE_BEST / 2
    scored = [(SUPPORTED, welcome), (near, short), (SUPPORTED + NEAR_THE_BEST, longer), (near, painters)]
    assert chosen(scored) == [longer, painters]
    assert chosen([(SUPPORTED + 2 * NEAR_THE_BEST, longer), (near, painters)]) == [longer]
    assert chosen([(SUPPORTED - 0.01, longer)]) == []
    assert chosen([]) == []
