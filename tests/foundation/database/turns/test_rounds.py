"""Whose turn it is, by the turns before."""

from __future__ import annotations

from lapel.foundation.database.turns.rounds import Rounds


def test_the_first_part_of_a_path_decides_and_then_the_next() -> None:
    rounds = Rounds()
    paths = [("a", 1), ("a", 2), ("b", 3)]
    order: list[int] = []
    for _ in range(8):
        chosen = min(paths, key=rounds.rank)
        rounds.take(chosen)
        order.append(chosen[1])
    assert order == [1, 3, 2, 3, 1, 3, 2, 3]


def test_the_latest_turn_is_known_of_each_part() -> None:
    rounds = Rounds()
    assert not rounds.had_last(("a",))
    rounds.take(("a", 1))
    assert rounds.had_last(("a",))
    assert rounds.had_last(("a", 1))
    rounds.take(("b", 1))
    assert not rounds.had_last(("a",))


def test_of_very_many_the_longest_ago_are_forgotten_and_the_others_keep_their_order() -> None:
    rounds = Rounds()
    for each in range(5_000):
        rounds.take((each,))
    ranks = [rounds.rank((each,)) for each in range(5_000)]
    known = [each for each in ranks if each != (0,)]
    assert 100 < len(known) < 2_000
    assert ranks[-len(known) :] == known == sorted(known)
