"""Chooses the threshold of the extractive engine, on the half `choose` of the shipped questions.

    python -m benchmarks.extractive_threshold

It starts a server of its own, stores the conversations, scores the sentences of each question as Ask does,
and prints for each threshold what Ask would answer and refuse. The best threshold belongs into `SUPPORTED` of
lapel/slices/language_models/extractive/support.py. Then `lapel eval --only ask` judges it: its half `judge`
has had no part in the choice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import cast

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from lapel.app import open_services
from lapel.cli.evaluate.chosen_set import chosen, shipped_set
from lapel.cli.evaluate.evaluate import environment_of
from lapel.cli.evaluate.evaluated_library import EvaluatedLibrary, await_vectors, store
from lapel.cli.evaluate.evaluation_client import EvaluationClient
from lapel.cli.evaluate.figures import AnsweredQuestion, AskFigures, ask_figures, is_inside
from lapel.cli.shared.installation import with_ports
from lapel.cli.shared.own_server import own_server, temporary_folder
from lapel.evaluation.questions import LIBRARY, EvaluationQuestion, facts_said
from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services
from lapel.settings import Settings
from lapel.slices.ask.composing.composer import passages_to_extract
from lapel.slices.ask.composing.extracts import candidates_of, near_the_best
from lapel.slices.ask.composing.retrieval import AskedQuestion, Retrieval
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.language_models.extractive.support import SUPPORTED, supported
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import find_world
from lapel.slices.search.service import Search

THRESHOLDS = [round(0.02 * step, 2) for step in range(51)]


class ScoredSentence(msgspec.Struct, frozen=True):
    """A sentence that may be an answer, and where it was said."""

    score: float
    text: str
    conversation: str
    start_ms: int


class ScoredQuestion(msgspec.Struct, frozen=True):
    """A question, and the sentences that Ask would answer with, whatever their scores; the best first."""

    question: EvaluationQuestion
    sentences: list[ScoredSentence]


def answered(scored: ScoredQuestion, threshold: float) -> AnsweredQuestion:
    """What Ask would answer with this threshold."""
    question = scored.question
    said = [each for each in scored.sentences if each.score >= threshold]
    text = " ".join(each.text for each in said)
    return AnsweredQuestion(
        half=question.half,
        kind=question.kind,
        answerable=question.answerable,
        failed=None,
        citations=len(said),
        inside=sum(is_inside(question, each.conversation, each.start_ms) for each in said),
        facts=facts_said(question, text),
        model=None,
        seconds=0.0,
    )


def curve(scored: Sequence[ScoredQuestion]) -> list[tuple[float, AskFigures]]:
    """The figures for each threshold."""
    return [(each, ask_figures([answered(one, each) for one in scored])) for each in THRESHOLDS]


async def scores(
    services: Services, world_id: int, library: EvaluatedLibrary, questions: Sequence[EvaluationQuestion]
) -> list[ScoredQuestion]:
    """The scores of all questions."""
    retrieval, embeddings = Retrieval(services.ports, services[Search]), services[Embeddings]
    read = cast("Callable[[bytes, str], NDArray[np.float32]]", np.frombuffer)  # typed for any dtype
    scored: list[ScoredQuestion] = []
    for question in questions:
        is_library = question.scope == LIBRARY
        asked = AskedQuestion(
            world_id=world_id,
            end_user_id=library.end_users[question.end_user],
            scope_type="library" if is_library else "recording",
            recording_ids=[] if is_library else [library.recordings[question.scope]],
            question=question.question,
        )
        passages = await passages_to_extract(retrieval, asked)
        candidates = candidates_of(question.question, passages)
        texts = [each.sentence.text for each in candidates]
        own, others = await embeddings.query(question.question), await embeddings.sentences(texts)
        if own is None or others is None:
            raise SystemExit("there is no embedding model, so there is no threshold")
        sentences: list[ScoredSentence] = []
        if texts:
            vectors = read(b"".join(others), "<f4").reshape(len(others), -1)
            found = supported(question.question, texts, vectors, read(own, "<f4"), threshold=0.0)
            sentences = [
                ScoredSentence(
                    each.score,
                    texts[each.index],
                    library.written_id(candidates[each.index].recording_id),
                    candidates[each.index].sentence.start_ms,
                )
                for each in near_the_best(found)
            ]
        scored.append(ScoredQuestion(question, sentences))
        print(f"\r{len(scored)} of {len(questions)} questions", end="", flush=True)
    print()
    return scored


async def measure(ports: Ports, base_url: str) -> list[ScoredQuestion]:
    """Store the conversations in a new server, and score the questions of the half `choose`."""
    services = open_services(ports)
    key = await OperatorKeys(ports).create(mode="test")
    async with ports.database.acquire() as connection:
        world_id = await find_world(connection, key.project_id, "test")
    assert world_id is not None
    set_ = chosen(shipped_set(), "ask", "choose", None)
    async with aiohttp.ClientSession() as session:
        client = EvaluationClient(session, base_url, key.key)
        library = await store(client, services, world_id, set_, lambda: None)
    await await_vectors(services, world_id, lambda left: print(f"\r{left} to embed ", end="", flush=True))
    print()
    return await scores(services, world_id, library, set_.questions)


def main() -> None:
    """Print the curve, and the best threshold."""
    environment = environment_of(os.environ)
    with temporary_folder("lapel-threshold-") as folder, own_server(folder, environment) as server:
        settings = Settings.from_env(environment, data_dir=folder, role="all")
        scored = with_ports(settings, lambda ports: measure(ports, server.base_url))
    found = curve(scored)
    print("threshold  refusal accuracy  refused  answered  right citation  groundedness  right citations")
    for threshold, each in found:
        shares = (
            each.refusal_accuracy, each.refused, each.answered, each.supported, each.groundedness,
            each.citations,
        )  # fmt: skip
        shown = "  ".join("   –  " if share is None else f"{share:6.3f}" for share in shares)
        print(f"{threshold:9.2f}  {shown}{'  (now)' if threshold == SUPPORTED else ''}")
    best, figures = max(found, key=lambda each: (each[1].refusal_accuracy or 0.0, each[0]))
    print(f"best: {best}, with a refusal accuracy of {figures.refusal_accuracy}")


if __name__ == "__main__":
    main()
