"""Each stretch of speech has its language, and a doubtful stretch has that of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from lapel.slices.transcription.models.whisper.spoken_languages import SpokenLanguages, spoken_languages

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from numpy.typing import NDArray

RATE = 16_000  # Hz

# What the model says of a stretch, by the level of its samples.
ENGLISH, GERMAN, DOUBTFUL, WELSH = 0.1, 0.2, 0.3, 0.4
CHANCES = {
    ENGLISH: {"en": 0.96, "de": 0.03},
    GERMAN: {"en": 0.02, "de": 0.97},
    DOUBTFUL: {"en": 0.51, "de": 0.4},
    WELSH: {"cy": 0.85, "en": 0.1},
}


def detected(encoded: NDArray[np.float32]) -> list[list[tuple[str, float]]]:
    found = [CHANCES[round(float(each.flat[0]), 1)] for each in encoded]
    return [[(f"<|{language}|>", chance) for language, chance in each.items()] for each in found]


def features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    assert 0 < len(samples) <= 4 * RATE
    return np.full((80, max(1, len(samples) // 160)), samples[0], np.float32)


def of(
    *stretches: tuple[float, float],
    likely: str | None = None,
    among: frozenset[str] = frozenset({"en", "de", "cy"}),
    encoded: list[int] | None = None,
) -> SpokenLanguages:
    """The languages of stretches, each of a level and of a length in seconds.

    `encoded`: gets the number of stretches in each batch that the model encodes.
    """

    def encode(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if encoded is not None:
            encoded.append(len(batch))
        return batch

    runs: list[tuple[int, int]] = []
    at = 0
    for _, seconds in stretches:
        runs.append((at, at + int(seconds * RATE)))
        at = runs[-1][1] + RATE // 2
    samples = np.zeros(at, np.float32)
    for (start, end), (level, _) in zip(runs, stretches, strict=True):
        samples[start:end] = level
    model = SimpleNamespace(
        feature_extractor=features, encode=encode, model=SimpleNamespace(detect_language=detected)
    )
    return spoken_languages(cast("WhisperModel", model), samples, runs, among=among, likely=likely)


def test_one_language() -> None:
    found = of(*[(ENGLISH, 5.0)] * 20)
    assert found.of_runs == ["en"] * 20
    assert (found.main, found.probability) == ("en", 0.96)


@pytest.mark.parametrize("turns", [*range(1, 30), 100])
def test_people_who_take_turns_in_two_languages(turns: int) -> None:
    found = of(*[(ENGLISH, 5.0), (GERMAN, 6.0)] * turns)
    assert found.of_runs == ["en", "de"] * turns
    assert (found.main, found.probability) == ("de", 0.97)


def test_a_short_or_doubtful_stretch_has_the_language_of_the_one_before() -> None:
    found = of(
        (WELSH, 1.0), (GERMAN, 5), (WELSH, 1.0), (ENGLISH, 4), (DOUBTFUL, 3), (GERMAN, 2), (WELSH, 0.5)
    )
    assert found.of_runs == ["de", "de", "de", "en", "en", "de", "de"]


def test_doubtful_stretches_do_not_make_a_second_language() -> None:
    assert of((GERMAN, 9), (DOUBTFUL, 3), (GERMAN, 9)).of_runs == ["de"] * 3
    assert of((GERMAN, 9), (WELSH, 1.4), (GERMAN, 9)).of_runs == ["de"] * 3


def test_if_nothing_is_clear_the_likely_language_counts() -> None:
    assert of((DOUBTFUL, 3)).main == "en"
    found = of((DOUBTFUL, 3), likely="de")
    assert (found.of_runs, found.main, found.probability) == (["de"], "de", 0.4)
    assert of((ENGLISH, 3), likely="de").main == "en"
    assert of((ENGLISH, 3), (DOUBTFUL, 9), likely="de").of_runs == ["en", "en"]
    assert of((ENGLISH, 1), likely="de").main == "de"


def test_a_likely_language_that_the_model_does_not_know_does_not_count() -> None:
    assert of((DOUBTFUL, 3), likely="yue").main == "en"


def test_a_language_is_chosen_among_those_that_may_be_spoken() -> None:
    found = of((DOUBTFUL, 3), among=frozenset({"de", "cy"}))
    assert (found.main, found.probability) == ("de", round(0.4 / 0.49, 4))
    turns = [(GERMAN, 4), (ENGLISH, 4), (WELSH, 4)]
    assert of(*turns, among=frozenset({"en", "de", "cy"})).of_runs == ["de", "en", "cy"]
    # What would be Welsh says too little of the two others, so it is in the language before it.
    assert of(*turns, among=frozenset({"en", "de"})).of_runs == ["de", "en", "en"]
    assert of((DOUBTFUL, 3), likely="en", among=frozenset({"de"})).main == "de"
    assert of((GERMAN, 3), among=frozenset({"cy", "en"})).main == "en", "with a chance of 0.02 of all"


def test_short_stretches_cost_nothing_because_they_cannot_say() -> None:
    encoded: list[int] = []
    found = of((ENGLISH, 5), *[(WELSH, 1.0)] * 50, (GERMAN, 5), encoded=encoded)
    assert sum(encoded) == 2
    assert (found.of_runs, found.main) == (["en"] * 51 + ["de"], "en")
    assert found.probability == 0.96, "short stretches say nothing against it"


@pytest.mark.parametrize("seconds", [0.05, 1.49, 1.5, 40])
def test_one_stretch_of_any_length(seconds: float) -> None:
    assert of((GERMAN, seconds)).of_runs == ["de"]
