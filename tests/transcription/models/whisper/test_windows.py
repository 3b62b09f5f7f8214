"""All speech is in the windows, once; none is too long; times find their way back."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.models.whisper.windows import LONGEST, RATE, Run, Window, pack

_gaps = st.integers(min_value=0, max_value=40 * RATE)
_lengths = st.integers(min_value=1, max_value=70 * RATE)


@st.composite
def _speech(draw: st.DrawFn) -> tuple[list[Run], list[str], int]:
    runs: list[Run] = []
    at = 0
    for gap, length in draw(st.lists(st.tuples(_gaps, _lengths), max_size=4)):
        runs.append((at + gap, at + gap + length))
        at += gap + length
    languages = [draw(st.sampled_from(["en", "de"])) for _ in runs]
    return runs, languages, at + draw(_gaps)


@given(_speech())
@settings(max_examples=50, deadline=None)
def test_all_speech_is_heard_once_in_its_language(given_speech: tuple[list[Run], list[str], int]) -> None:
    speech, languages, length = given_speech
    windows = pack(speech, languages, np.zeros(length, np.float32))
    assert all(0 < len(window) <= LONGEST for window in windows)
    heard = [(*run, window.language) for window in windows for run in window.runs]
    for language in languages:
        in_it = [run for run in heard if run[2] == language]
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(in_it))
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(sorted(heard)))
    assert all(0 <= start < end <= length for start, end, _ in heard)
    for (start, end), language in zip(speech, languages, strict=True):
        inside = sum(
            max(0, min(end, until) - max(start, since)) for since, until, its in heard if its == language
        )
        assert inside == end - start


@given(_speech(), st.floats(0, 30), st.floats(0, 30))
@settings(max_examples=50, deadline=None)
def test_a_time_in_a_window_leads_to_one_of_its_runs(
    given_speech: tuple[list[Run], list[str], int], one: float, two: float
) -> None:
    speech, languages, length = given_speech
    for window in pack(speech, languages, np.zeros(length, np.float32)):
        start, end = window.times(min(one, two), max(one, two))
        assert start <= end
        assert any(since <= start * RATE + 1 and end * RATE - 1 <= until for since, until in window.runs)


def test_times_skip_the_silences_that_were_taken_out() -> None:
    window = Window(((RATE, 2 * RATE), (10 * RATE, 12 * RATE)), "en")
    assert window.times(0.25, 0.5) == (1.25, 1.5)
    assert window.times(1.5, 2.0) == (10.5, 11.0)
    assert window.times(0.9, 1.4) == (10.0, 10.4)  # its middle lies after the cut


def test_what_is_left_after_a_time() -> None:
    window = Window(((RATE, 2 * RATE), (10 * RATE, 12 * RATE)), "en")
    assert window.after(1.5) == Window(((RATE * 3 // 2, 2 * RATE), (10 * RATE, 12 * RATE)), "en")
    assert window.after(11) == Window(((11 * RATE, 12 * RATE),), "en")
    assert window.after(12) is None


def test_long_silences_are_shortened_and_short_pauses_are_not() -> None:
    speech = [(5 * RATE, 8 * RATE), (8 * RATE + RATE // 2, 12 * RATE), (40 * RATE, 44 * RATE)]
    (window,) = pack(speech, ["en"] * len(speech), np.zeros(60 * RATE, np.float32))
    assert window.runs == (
        (5 * RATE - 4800, 12 * RATE + 4800),
        (40 * RATE - 4800, 44 * RATE + 4800),
    )


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    piece = np.full(50 * RATE, 0.5, np.float32)
    piece[int(25.0 * RATE) : int(25.1 * RATE)] = 0.01
    first, second = pack([(0, 50 * RATE)], ["en"], piece)
    assert 25.0 * RATE <= first.runs[-1][1] <= 25.1 * RATE
    assert second.runs == ((first.runs[-1][1], 50 * RATE),)


def test_silence_has_no_windows() -> None:
    assert pack([], [], np.zeros(RATE, np.float32)) == []
