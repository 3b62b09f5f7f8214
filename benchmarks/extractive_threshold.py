"""Fits the weights of the extractive engine to the half `choose` of the shipped questions.

    python -m benchmarks.extractive_threshold

It starts a server of its own, stores the conversations, and embeds every candidate of each question. It
prints the weights of both steps for lapel/slices/language_models/extractive/support.py, and for several
thresholds what Ask would answer and refuse. Each question of these figures is judged with weights that were
fitted without the questions of its conversation. Then `lapel eval --only ask` judges the choice: its half
`judge` has had no part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import aiohttp
import msgspec

from benchmarks.softmax_fit import Choice, Fitted, fitted
from lapel.app import open_services
from lapel.cli.evaluate.chosen_set import chosen as chosen_set
from lapel.cli.evaluate.chosen_set import shipped_set
from lapel.cli.evaluate.evaluate import environment_of
from lapel.cli.evaluate.evaluated_library import EvaluatedLibrary, await_vectors, store
from lapel.cli.evaluate.evaluation_client import EvaluationClient
from lapel.cli.evaluate.figures import AnsweredQuestion, AskFigures, ask_figures
from lapel.cli.shared.installation import with_ports
from lapel.cli.shared.own_server import own_server, temporary_folder
from lapel.evaluation.questions import LIBRARY, EvaluationQuestion, facts_said
from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services
from lapel.settings import Settings
from lapel.slices.ask.composing.composer import passages_to_extract
from lapel.slices.ask.composing.extracts import (
    AnswerCandidate,
    all_candidates,
    chosen,
    with_cosine,
    worth_a_vector,
)
from lapel.slices.ask.composing.retrieval import Retrieval
from lapel.slices.ask.questions.asked_question import AskedQuestion
from lapel.slices.embeddings.service import MOST_SENTENCES, Embeddings, cosines
from lapel.slices.language_models.extractive.support import Features
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import find_world
from lapel.slices.search.service import Search

NAMES = Features.__struct_fields__
FIRST_NAMES = [each for each in NAMES if each != "cosine"]
PARTS = 8
# Relative to the score of "no window answers".
THRESHOLDS = [round(-2 + 0.1 * step, 1) for step in range(21)]


class JudgedCandidate(msgspec.Struct, frozen=True):
    """A candidate with all its features, and whether it lies within an expected place."""

    candidate: AnswerCandidate
    features: Features
    is_inside: bool


class JudgedQuestion(msgspec.Struct, frozen=True):
    """A question and all its candidates."""

    question: EvaluationQuestion
    candidates: list[JudgedCandidate]

    @property
    def about(self) -> str:
        """The conversation that the question was written for, by its id."""
        return re.sub(r"-\d+$", "", self.question.id)

    def choice(self, names: Sequence[str]) -> Choice:
        """What a fit learns of this question."""
        rows = [[getattr(each.features, name) for name in names] for each in self.candidates]
        return Choice(rows, [each.is_inside for each in self.candidates])


def embedded_only(question: JudgedQuestion, first: Fitted) -> JudgedQuestion:
    """The question with only those candidates that Ask would embed."""
    by_candidate = {id(each.candidate): each for each in question.candidates}
    scored = [(_score(each, FIRST_NAMES, first), each.candidate) for each in question.candidates]
    return JudgedQuestion(question.question, [by_candidate[id(each)] for each in worth_a_vector(scored)])


def both_steps(questions: Sequence[JudgedQuestion]) -> tuple[Fitted, Fitted]:
    """The weights of both steps."""
    first, second = (fitted([each.choice(names) for each in questions]) for names in (FIRST_NAMES, NAMES))
    return first, second


def answered(question: JudgedQuestion, steps: tuple[Fitted, Fitted], threshold: float) -> AnsweredQuestion:
    """What Ask would answer with these weights and this threshold."""
    first, second = steps
    left = embedded_only(question, first).candidates
    inside = {id(each.candidate): each.is_inside for each in left}
    said = chosen([(_score(each, NAMES, second), each.candidate) for each in left], threshold)
    asked = question.question
    return AnsweredQuestion(
        half=asked.half,
        kind=asked.kind,
        answerable=asked.answerable,
        failed=None,
        citations=len(said),
        inside=sum(inside[id(each)] for each in said),
        facts=facts_said(asked, " ".join(each.place.window.text for each in said)),
        model=None,
        seconds=0.0,
    )


def curve(questions: Sequence[JudgedQuestion]) -> list[tuple[float, AskFigures]]:
    """The figures for each threshold, by cross-validation over the conversations."""
    conversations = sorted({each.about for each in questions})
    parts = {about: place % PARTS for place, about in enumerate(conversations)}
    steps = [both_steps([each for each in questions if parts[each.about] != part]) for part in range(PARTS)]
    return [
        (threshold, ask_figures([answered(each, steps[parts[each.about]], threshold) for each in questions]))
        for threshold in THRESHOLDS
    ]


async def judged(
    services: Services, world_id: int, library: EvaluatedLibrary, questions: Sequence[EvaluationQuestion]
) -> list[JudgedQuestion]:
    """All questions with their candidates."""
    retrieval, embeddings = Retrieval(services.ports, services[Search]), services[Embeddings]
    found, known = list[JudgedQuestion](), dict[str, bytes]()
    for question in questions:
        is_library = question.scope == LIBRARY
        asked = AskedQuestion(
            world_id=world_id,
            end_user_id=library.end_users[question.end_user],
            scope_type="library" if is_library else "recording",
            recording_ids=[] if is_library else [library.recordings[question.scope]],
            question=question.question,
            asked_at=services.ports.clock.now(),
        )
        candidates = all_candidates(question.question, await passages_to_extract(retrieval, asked))
        near = await _cosines(
            embeddings, question.question, [each.place.embedded for each in candidates], known
        )
        found.append(
            JudgedQuestion(
                question,
                [
                    JudgedCandidate(each, with_cosine(each, cosine), _is_inside(question, each, library))
                    for each, cosine in zip(candidates, near, strict=True)
                ],
            )
        )
        print(f"\r{len(found)} of {len(questions)} questions", end="", flush=True)
    print()
    return found


def _is_inside(question: EvaluationQuestion, candidate: AnswerCandidate, library: EvaluatedLibrary) -> bool:
    conversation = library.written_id(candidate.place.recording_id)
    start_ms = candidate.place.cited_ms
    return any(span.meets(conversation, start_ms, start_ms + 1) for span in question.expected)


async def _cosines(
    embeddings: Embeddings, question: str, texts: Sequence[str], known: dict[str, bytes]
) -> list[float]:
    """The cosines of a question and texts. `known`: the vectors of texts so far."""
    own = await embeddings.query(question)
    new = [each for each in dict.fromkeys(texts) if each not in known]
    for begin in range(0, len(new), MOST_SENTENCES):
        some = new[begin : begin + MOST_SENTENCES]
        vectors = await embeddings.sentences(some)
        if vectors is None:
            break
        known.update(zip(some, vectors, strict=True))
    if own is None or any(each not in known for each in texts):
        raise SystemExit("there is no embedding model, so there is nothing to fit")
    return cosines([own, *(known[each] for each in texts)])


def _score(candidate: JudgedCandidate, names: Sequence[str], weights: Fitted) -> float:
    values = (getattr(candidate.features, name) for name in names)
    return sum(value * weight for value, weight in zip(values, weights.weights, strict=True)) - weights.none


async def measure(ports: Ports, base_url: str) -> list[JudgedQuestion]:
    """Store the conversations in a new server, and judge the candidates of the half `choose`."""
    services = open_services(ports)
    key = await OperatorKeys(ports).create(mode="test")
    async with ports.database.acquire() as connection:
        world_id = await find_world(connection, key.project_id, "test")
    assert world_id is not None
    set_ = chosen_set(shipped_set(), "ask", "choose", None)
    async with aiohttp.ClientSession() as session:
        client = EvaluationClient(session, base_url, key.key)
        library = await store(client, services, world_id, set_, lambda: None)
    await await_vectors(services, world_id, lambda left: print(f"\r{left} to embed ", end="", flush=True))
    print()
    return await judged(services, world_id, library, set_.questions)


def main() -> None:
    """Print the weights, and the figures for each threshold."""
    environment = environment_of(os.environ)
    with temporary_folder("lapel-threshold-") as folder, own_server(folder, environment) as server:
        settings = Settings.from_env(environment, data_dir=folder, role="all")
        questions = with_ports(settings, lambda ports: measure(ports, server.base_url))
    for step, names, weights in zip(
        ("first", "second"), (FIRST_NAMES, NAMES), both_steps(questions), strict=True
    ):
        values = ", ".join(f"{name}={value:.2f}" for name, value in zip(names, weights.weights, strict=True))
        print(f"{step} step: {values}; no answer: {weights.none:.2f}")
    print("threshold  refusal accuracy  refused  answered  right citation  groundedness  right citations")
    for threshold, each in curve(questions):
        shares = (
            each.refusal_accuracy, each.refused, each.answered, each.supported, each.groundedness,
            each.citations,
        )  # fmt: skip
        shown = "  ".join("   –  " if share is None else f"{share:6.3f}" for share in shares)
        print(f"{threshold:9.1f}  {shown}")


if __name__ == "__main__":
    main()
