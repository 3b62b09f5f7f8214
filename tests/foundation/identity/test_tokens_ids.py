"""Tokens that cannot be mistyped, ids that sort by time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.base62 import ALPHABET, decode, encode
from lapel.foundation.core.clock import ManualClock, SystemClock, timestamp
from lapel.foundation.core.ids import TimeOrderedIds, made_at
from lapel.foundation.identity.tokens import TokenHasher, hint, new_token, token_prefix
from tests.support.declared import TOKEN_PREFIXES

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize("prefix", TOKEN_PREFIXES)
def test_a_token_is_its_prefix_and_38_characters(prefix: str) -> None:
    token = new_token(prefix)
    assert re.fullmatch(rf"{prefix}_[0-9A-Za-z]{{38}}", token)
    assert token_prefix(token) == prefix
    assert new_token(prefix) != token


@given(st.sampled_from(TOKEN_PREFIXES), st.data())
def test_one_wrong_character_is_noticed(prefix: str, data: st.DataObject) -> None:
    token = new_token(prefix)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != token[at]))
    assert token_prefix(token[:at] + other + token[at + 1 :]) is None


@given(st.sampled_from(TOKEN_PREFIXES), st.data())
def test_two_swapped_characters_are_noticed(prefix: str, data: st.DataObject) -> None:
    token = new_token(prefix)
    at = data.draw(st.integers(0, len(token) - 2))
    swapped = token[:at] + token[at + 1] + token[at] + token[at + 2 :]
    if swapped != token:
        assert token_prefix(swapped) is None


@given(st.text(max_size=60))
def test_invented_tokens_are_refused(text: str) -> None:
    assert token_prefix(text) is None


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_cut_or_padded_tokens_are_refused(cut: int) -> None:
    token = new_token("sk_live")
    assert token_prefix(token[:-cut]) is None
    assert token_prefix(token + "0" * cut) is None
    assert token_prefix(" " + token) is None


def test_a_token_of_one_kind_is_none_of_another() -> None:
    token = new_token("sk_live")
    assert token_prefix(token.replace("sk_live", "sk_test")) is None
    assert token_prefix(token.replace("sk_live", "rk_live")) is None


def test_a_hint_shows_four_characters() -> None:
    token = new_token("rk_test")
    assert hint(token) == f"rk_test_…{token[-4:]}"


def test_hashes_depend_on_the_pepper_and_both_peppers_find() -> None:
    token = new_token("dtok")
    old, new = TokenHasher(b"a" * 32), TokenHasher(b"b" * 32, others=(b"a" * 32,))
    assert len(old.hash(token)) == 32
    assert old.hash(token) != new.hash(token)
    assert old.candidates(token) == [old.hash(token)]
    assert new.candidates(token) == [new.hash(token), old.hash(token)]


@given(st.integers(0, 62**8 - 1), st.integers(0, 62**8 - 1))
def test_base_62_keeps_the_order(one: int, other: int) -> None:
    assert (encode(one, 8) < encode(other, 8)) == (one < other)
    assert set(encode(one, 8)) <= set(ALPHABET)
    assert decode(encode(one, 8)) == one


def test_base_62_says_when_it_does_not_fit() -> None:
    assert encode(62**2 - 1, 2) == "zz"
    with pytest.raises(OverflowError):
        encode(62**2, 2)


def test_an_id_is_its_prefix_and_24_characters() -> None:
    made = TimeOrderedIds(SystemClock()).new("rec")
    assert re.fullmatch(r"rec_[0-9A-Za-z]{24}", made)


def test_an_id_tells_when_it_was_made() -> None:
    made = TimeOrderedIds(ManualClock(START)).new("att")
    assert made_at(made) == START
    assert made_at(made.removeprefix("att_")) == START


@pytest.mark.parametrize(
    "value", ["", "att_", "att_0", "att_" + "0" * 25, "att_" + "-" * 24, "att_" + "é" * 24]
)
def test_what_is_no_id_was_made_at_no_time(value: str) -> None:
    assert made_at(value) is None


@given(st.lists(st.integers(-5000, 5000), max_size=50))
def test_ids_go_up_even_when_the_clock_steps_back(steps: list[int]) -> None:
    clock = ManualClock(START)
    ids = TimeOrderedIds(clock)
    made: list[str] = []
    for step in steps:
        clock.advance(timedelta(milliseconds=step))
        made.append(ids.new("evt"))
    assert made == sorted(set(made))


def test_many_ids_of_one_millisecond_go_up() -> None:
    """Their last four characters are used up several times."""
    ids = TimeOrderedIds(ManualClock(START))
    made = [ids.new("evt") for _ in range(2000)]
    assert made == sorted(set(made))
    assert len({each[:-4] for each in made}) > 2
    assert {made_at(each) for each in made} == {START}


def test_ids_of_different_processes_sort_by_time() -> None:
    early = [TimeOrderedIds(ManualClock(START)).new("evt") for _ in range(100)]
    late = [TimeOrderedIds(ManualClock(START + timedelta(milliseconds=1))).new("evt") for _ in range(100)]
    assert max(early) < min(late)
    assert len({*early, *late}) == 200


def test_threads_never_make_the_same_id() -> None:
    ids = TimeOrderedIds(ManualClock(START))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ids.new("med"), range(4000)))
    assert len(set(made)) == 4000


def test_timestamps_have_milliseconds_and_a_z() -> None:
    moment = datetime.fromisoformat("2026-01-15T14:00:00.123999+02:00")
    assert timestamp(moment) == "2026-01-15T12:00:00.123Z"
    assert timestamp(datetime(999, 1, 2, tzinfo=UTC)) == "0999-01-02T00:00:00.000Z"
