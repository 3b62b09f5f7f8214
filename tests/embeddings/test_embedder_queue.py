"""The order in which the query process works, its bounds, and the vectors that it remembers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.embeddings.embedder import embedder_queue
from lapel.slices.embeddings.embedder.embedder_messages import PATIENCE
from lapel.slices.embeddings.embedder.embedder_queue import (
    MOST_LONG_QUERIES,
    MOST_REQUESTS_OF_SENTENCES,
    MOST_SHORT_QUERIES,
    QUERIES_AT_ONCE,
    SENTENCES_AT_ONCE,
    SHORT_TOKENS,
    Batch,
    EmbedderQueue,
    Tenant,
    VectorCache,
)
from lapel.slices.embeddings.model.model_messages import VECTOR_BYTES, Kind

MOST_TOKENS = 256
LONG = "l" * (SHORT_TOKENS + 1)


@dataclass(eq=False)
class Client:
    """Keeps what it is answered."""

    tenant: Tenant = ("prj_a", 1)
    gone: bool = False
    answers: list[bytes | None] = field(default_factory=list[bytes | None])

    def answer(self, packed: bytes | None) -> None:
        self.answers.append(packed)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tokens_of(text: str, _: Kind) -> list[int]:
    """A character is a token."""
    return [ord(each) for each in text[:MOST_TOKENS]]


def vector(text: str) -> bytes:
    return text.encode().ljust(VECTOR_BYTES, b".")[:VECTOR_BYTES]


def texts_of(batch: Batch) -> list[str]:
    return ["".join(map(chr, each)) for each in batch.tokens]


def embed(batch: Batch | None) -> list[str]:
    """Do the work of a batch; gives its texts."""
    assert batch is not None
    texts = texts_of(batch)
    batch.end(b"".join(map(vector, texts)))
    return texts


def a_queue(clock: Clock | None = None) -> EmbedderQueue:
    return EmbedderQueue(VectorCache(), tokens_of, clock or Clock())


def take(queue: EmbedderQueue) -> Batch | None:
    """Short queries; others when none of these wait."""
    return queue.take_short() or queue.take_long()


def test_long_queries_and_sentences_take_turns_and_short_queries_wait_for_neither() -> None:
    queue, asker = a_queue(), Client()
    queue.put("sentence", [f"s{each}" for each in range(3 * SENTENCES_AT_ONCE)], asker)
    for each in range(3):
        queue.put("query", [f"{LONG}{each}"], asker)
    assert queue.take_short() is None
    begun = queue.take_long()
    queue.put("query", ["q"], asker)
    assert embed(queue.take_short()) == ["q"], "the turn that has begun does not end first"
    order = embed(begun)[0][0]
    while batch := queue.take_long():
        order += embed(batch)[0][0]
    assert order == "lslsls"


def test_sentences_of_a_request_keep_their_order() -> None:
    queue, asker = a_queue(), Client()
    sentences = [f"s{each}" for each in range(SENTENCES_AT_ONCE + 1)]
    queue.put("sentence", sentences, asker)
    assert embed(take(queue)) == sentences[:-1]
    queue.put("query", ["q"], asker)
    assert embed(take(queue)) == ["q"]
    assert embed(take(queue)) == sentences[-1:]
    assert asker.answers == [vector("q"), b"".join(map(vector, sentences))]
    assert take(queue) is None


def test_a_few_queries_are_embedded_at_once() -> None:
    queue, asker = a_queue(), Client()
    for each in range(QUERIES_AT_ONCE + 1):
        queue.put("query", [str(each)], asker)
    assert len(embed(take(queue))) == QUERIES_AT_ONCE
    assert len(embed(take(queue))) == 1
    assert asker.answers == [vector(str(each)) for each in range(QUERIES_AT_ONCE + 1)]


def test_a_long_query_is_alone_and_short_ones_do_not_wait_for_those_before_them() -> None:
    queue, asker = a_queue(), Client()
    for each in (f"{LONG}1", f"{LONG}2", "a", "b"):
        queue.put("query", [each], asker)
    assert embed(take(queue)) == ["a", "b"]
    assert embed(take(queue)) == [f"{LONG}1"]
    queue.put("query", ["c"], asker)
    assert embed(take(queue)) == ["c"]
    assert embed(take(queue)) == [f"{LONG}2"]
    assert take(queue) is None


def test_a_query_is_cut_before_it_waits_so_those_that_differ_later_are_one() -> None:
    queue, asker = a_queue(), Client()
    queue.put("query", ["x" * MOST_TOKENS + "one"], asker)
    queue.put("query", ["x" * MOST_TOKENS + "two"], asker)
    assert embed(take(queue)) == ["x" * MOST_TOKENS]
    assert take(queue) is None
    assert len(asker.answers) == 2


def test_a_remembered_query_is_answered_at_once() -> None:
    queue, asker = a_queue(), Client()
    queue.put("query", ["q"], asker)
    embed(take(queue))
    queue.put("query", ["q"], asker)
    assert asker.answers == [vector("q")] * 2
    assert take(queue) is None


def test_equal_queries_wait_together_and_their_turn_is_the_first_of_both_projects() -> None:
    queue, busy, quiet = a_queue(), Client(), Client(("prj_b", 2))
    queue.put("query", [f"{LONG}0"], busy)
    assert embed(take(queue)) == [f"{LONG}0"]
    for each in range(3):
        queue.put("query", [f"{LONG}{each + 1}"], busy)
    queue.put("query", [f"{LONG}3"], quiet)
    assert embed(take(queue)) == [f"{LONG}3"]
    assert quiet.answers == [vector(f"{LONG}3")]
    assert busy.answers == [vector(f"{LONG}0"), vector(f"{LONG}3")]
    assert embed(take(queue)) == [f"{LONG}1"]


def test_two_worlds_of_a_project_have_the_turns_of_one() -> None:
    queue, live, test, other = a_queue(), Client(("prj_a", 1)), Client(("prj_a", 2)), Client(("prj_b", 3))
    for each in range(4):
        for name, asker in (("L", live), ("T", test), ("O", other)):
            queue.put("query", [f"{name}{each}{LONG}"], asker)
    order = "".join(embed(take(queue))[0][0] for _ in range(12))
    assert order == "LOTOLOTOLTLT"


def test_what_is_too_much_is_refused_at_once_and_then_there_is_room_again() -> None:
    """A project has half of each line, and the next one half of the rest."""
    lines: list[tuple[Kind, str, int]] = [
        ("query", "", MOST_SHORT_QUERIES),
        ("query", LONG, MOST_LONG_QUERIES),
        ("sentence", "", MOST_REQUESTS_OF_SENTENCES),
    ]
    for kind, text, most in lines:
        queue, asker, live = a_queue(), Client(("prj_a", 1)), Client(("prj_a", 2))
        for each in range(most // 2):
            queue.put(kind, [f"{text}{each % 20}"], asker)  # equal ones count, too
        assert asker.answers == []
        queue.put(kind, [f"{text}late"], live)
        assert live.answers == [None], "the worlds of a project share its places"
        other = Client(("prj_b", 3))
        for each in range(most // 4 + 1):
            queue.put(kind, [f"{text}other {each}"], other)
        assert other.answers == [None]
        while batch := take(queue):
            embed(batch)
        assert len(asker.answers) == most // 2
        assert None not in asker.answers
        queue.put(kind, [f"{text}late"], live)
        assert embed(take(queue)) == [f"{text}late"]


def test_nothing_is_embedded_for_those_who_have_left_or_waited_too_long() -> None:
    clock, gone, late, here = Clock(), Client(), Client(), Client()
    queue = a_queue(clock)
    queue.put("query", ["late"], late)
    queue.put("sentence", ["late"], late)
    clock.now += PATIENCE["sentence"] + 1
    queue.put("query", ["gone"], gone)
    queue.put("sentence", ["gone"], gone)
    queue.put("query", ["here"], here)
    gone.gone = True
    assert embed(take(queue)) == ["here"]
    assert take(queue) is None
    assert (gone.answers, late.answers, here.answers) == ([], [None, None], [vector("here")])


def test_a_failure_of_the_engine_is_answered_and_not_remembered() -> None:
    queue, asker = a_queue(), Client()
    queue.put("query", ["q"], asker)
    queue.put("sentence", ["s"] * (SENTENCES_AT_ONCE + 1), asker)
    while batch := take(queue):
        batch.end(None)
    assert asker.answers == [None, None]
    queue.put("query", ["q"], asker)
    assert embed(take(queue)) == ["q"]


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


# A request of a project and a world for a line; or a turn, of short queries or of the others.
LINES = "qls"
REQUESTS = st.tuples(st.sampled_from(LINES), st.integers(0, 4), st.integers(0, 1))
STEPS = st.lists(st.booleans() | REQUESTS, max_size=60)


class Fairness:
    """Who waits, and how many turns others have had since then."""

    def __init__(self) -> None:
        self.queue, self.clients = a_queue(), list[Client]()
        self.waiting: dict[str, list[tuple[str, str]]] = defaultdict(list)  # project and world, by line
        # For a line, a project of a line, or its world: the turns of others since it began to wait.
        self.passed: dict[str, Counter[str]] = defaultdict(Counter)

    def put(self, line: str, project: int, world: int) -> None:
        client = Client((str(project), world))
        self.clients.append(client)
        text = f"{line}{project}{world}{len(self.clients)}" + (LONG if line == "l" else "")
        texts = [text] * (SENTENCES_AT_ONCE + 1) if line == "s" else [text]  # sentences take two turns
        self.queue.put("sentence" if line == "s" else "query", texts, client)
        if client.answers:
            assert client.answers == [None], "it is answered at once only if there is no room"
        else:
            self.waiting[line].append((str(project), str(world)))

    def turn(self, short: bool) -> bool:
        busy = [line for line in LINES if self.waiting[line] and (line == "q") == short]
        batch = self.queue.take_short() if short else self.queue.take_long()
        assert (batch is not None) == bool(busy), "there is work, and nobody does it"
        if batch is None:
            return False
        texts = texts_of(batch)
        line = texts[0][0]
        self.note(line, busy)
        assert all(self.passed[each].total() <= {"q": 0, "l": 1, "s": 1}[each] for each in LINES)
        for _, project, world, *_ in texts if line != "s" else texts[:1]:
            waiting = self.waiting[line]
            self.note(line + project, {line + of for of, _ in waiting})
            self.note(line + project + world, {line + of + each for of, each in waiting if of == project})
            assert all(most == 1 for of in waiting for most in self.passed[line + of[0]].values())
            assert all(most == 1 for of in waiting for most in self.passed[line + "".join(of)].values())
            if line != "s" or len(texts) < SENTENCES_AT_ONCE:
                waiting.remove((project, world))
        batch.end(b"".join(map(vector, texts)))
        return True

    def note(self, name: str, waiting: Iterable[str]) -> None:
        """A turn, while these wait."""
        self.passed[name].clear()
        for each in waiting:
            if each != name:
                self.passed[each][name] += 1


@given(STEPS)
def test_nobody_starves_and_nobody_has_two_turns_while_another_waits(
    steps: list[tuple[str, int, int] | bool],
) -> None:
    fairness = Fairness()
    for step in steps:
        if isinstance(step, bool):
            fairness.turn(step)
        else:
            fairness.put(*step)
    for short in (True, False):
        while fairness.turn(short):
            pass
    assert all(len(each.answers) == 1 for each in fairness.clients)
