"""The order in which the query process works, its bounds, and the vectors that it remembers."""

from __future__ import annotations

from lapel.slices.embeddings.embedder import embedder_queue
from lapel.slices.embeddings.embedder.embedder_messages import PATIENCE
from lapel.slices.embeddings.embedder.embedder_queue import (
    LONG_QUERY_BYTES,
    MOST_QUERIES,
    MOST_REQUESTS_OF_SENTENCES,
    QUERIES_AT_ONCE,
    SENTENCES_AT_ONCE,
    Batch,
    EmbedderQueue,
    VectorCache,
)
from lapel.slices.embeddings.model.model_messages import VECTOR_BYTES


class Client:
    """Keeps what it is answered."""

    def __init__(self) -> None:
        self.gone = False
        self.answers: list[bytes | None] = []

    def answer(self, packed: bytes | None) -> None:
        self.answers.append(packed)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def vector(text: str) -> bytes:
    return text.encode().ljust(VECTOR_BYTES, b".")[:VECTOR_BYTES]


def embed(batch: Batch | None) -> list[str]:
    """Do the work of a batch; gives its texts."""
    assert batch is not None
    batch.end(b"".join(map(vector, batch.texts)))
    return batch.texts


def a_queue() -> EmbedderQueue:
    return EmbedderQueue(VectorCache(), Clock())


def test_queries_come_before_sentences_which_were_first() -> None:
    queue, asker = a_queue(), Client()
    sentences = [f"s{each}" for each in range(SENTENCES_AT_ONCE + 1)]
    queue.put("sentence", sentences, asker)
    queue.put("query", ["q1"], asker)
    assert embed(queue.take()) == ["q1"]
    assert embed(queue.take()) == sentences[:-1]
    queue.put("query", ["q2"], asker)
    assert embed(queue.take()) == ["q2"]
    assert asker.answers == [vector("q1"), vector("q2")]
    assert embed(queue.take()) == sentences[-1:]
    assert asker.answers[-1] == b"".join(map(vector, sentences))
    assert queue.take() is None


def test_a_few_queries_are_embedded_at_once() -> None:
    queue, asker = a_queue(), Client()
    for each in range(QUERIES_AT_ONCE + 1):
        queue.put("query", [str(each)], asker)
    assert len(embed(queue.take())) == QUERIES_AT_ONCE
    assert len(embed(queue.take())) == 1
    assert asker.answers == [vector(str(each)) for each in range(QUERIES_AT_ONCE + 1)]


def test_a_long_query_is_alone_and_short_ones_do_not_wait_for_those_before_them() -> None:
    queue, asker = a_queue(), Client()
    chinese, english = "屋" * (LONG_QUERY_BYTES // 3 + 1), "r" * (LONG_QUERY_BYTES + 1)
    for each in (chinese, english, chinese, "a", "b"):
        queue.put("query", [each], asker)
    queue.put("sentence", ["s"], asker)
    assert embed(queue.take()) == ["a", "b"]
    assert embed(queue.take()) == [chinese]
    queue.put("query", ["c"], asker)
    assert embed(queue.take()) == ["c"]
    assert embed(queue.take()) == [english]
    assert embed(queue.take()) == ["s"]
    assert queue.take() is None
    assert len(asker.answers) == 7


def test_a_remembered_query_is_answered_at_once() -> None:
    queue, asker = a_queue(), Client()
    queue.put("query", ["q"], asker)
    embed(queue.take())
    queue.put("query", ["q"], asker)
    assert asker.answers == [vector("q")] * 2
    assert queue.take() is None


def test_equal_queries_wait_together() -> None:
    queue, one, other = a_queue(), Client(), Client()
    queue.put("query", ["q"], one)
    queue.put("query", ["q"], other)
    assert embed(queue.take()) == ["q"]
    assert one.answers == other.answers == [vector("q")]
    assert queue.take() is None


def test_what_is_too_much_is_refused_at_once_and_then_there_is_room_again() -> None:
    queue, asker, late = a_queue(), Client(), Client()
    for each in range(MOST_QUERIES):
        queue.put("query", [str(each % 200)], asker)  # equal ones count, too
    for each in range(MOST_REQUESTS_OF_SENTENCES):
        queue.put("sentence", [str(each)], asker)
    assert asker.answers == []
    queue.put("query", ["late"], late)
    queue.put("sentence", ["late"], late)
    assert late.answers == [None, None]
    while batch := queue.take():
        embed(batch)
    assert len(asker.answers) == MOST_QUERIES + MOST_REQUESTS_OF_SENTENCES
    queue.put("query", ["late"], late)
    assert embed(queue.take()) == ["late"]


def test_nothing_is_embedded_for_those_who_have_left_or_waited_too_long() -> None:
    clock, gone, late, here = Clock(), Client(), Client(), Client()
    queue = EmbedderQueue(VectorCache(), clock)
    queue.put("query", ["late"], late)
    queue.put("sentence", ["late"], late)
    clock.now += PATIENCE["sentence"] + 1
    queue.put("query", ["gone"], gone)
    queue.put("sentence", ["gone"], gone)
    queue.put("query", ["here"], here)
    gone.gone = True
    assert embed(queue.take()) == ["here"]
    assert queue.take() is None
    assert (gone.answers, late.answers, here.answers) == ([], [None, None], [vector("here")])


def test_a_failure_of_the_engine_is_answered_and_not_remembered() -> None:
    queue, asker = a_queue(), Client()
    queue.put("query", ["q"], asker)
    queue.put("sentence", ["s"] * (SENTENCES_AT_ONCE + 1), asker)
    while batch := queue.take():
        batch.end(None)
    assert asker.answers == [None, None]
    queue.put("query", ["q"], asker)
    assert embed(queue.take()) == ["q"]


def test_the_memory_of_vectors_is_bounded_in_entries_and_in_bytes() -> None:
    by_entries = VectorCache(entries=2)
    for each in ("a", "b"):
        by_entries.put(each.encode(), vector(each))
    assert by_entries.get(b"a") == vector("a")  # now the newest
    by_entries.put(b"c", vector("c"))
    assert [by_entries.get(each) is None for each in (b"a", b"b", b"c")] == [False, True, False]
    by_bytes = VectorCache(most_bytes=3 * VECTOR_BYTES)
    for _ in range(3):
        for each in ("a", "b", "c", "d"):
            by_bytes.put(each.encode(), vector(each))
    assert len(by_bytes) == 2
    assert embedder_queue.MOST_REMEMBERED * (VECTOR_BYTES + 200) < embedder_queue.MOST_REMEMBERED_BYTES
