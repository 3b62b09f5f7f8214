"""Finds the language of each stretch of speech, so that a recording may have several languages.

A few seconds of a stretch are enough, and Whisper's encoder takes them without the rest of its 30 s, in a
twentieth of the time (CTranslate2 allows fewer frames than the model has positions). A window of 30 s with
several languages would look like one of them, and Whisper would skip or garble the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from faster_whisper.audio import pad_or_trim

from lapel.slices.transcription.models.whisper.windows import RATE, Run

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from numpy.typing import NDArray

# So many seconds of each stretch are looked at.
_SECONDS = 4
_FRAMES = 100  # a second
_AT_ONCE = 4
# As many batches are looked at together; the model works at as many of them at once as it has workers.
_BATCHES_AT_ONCE = 2
# So many pairs of stretches decide whether a piece has several languages at all.
_PAIRS = 4
# A language is clear if it has this probability, in a stretch that is not too short to say.
_CLEAR = 0.8
_SHORT = int(1.5 * RATE)


class SpokenLanguages(NamedTuple):
    """Codes as `en`. `of_runs`: the language of each stretch. `main`: the one that is spoken longest.

    `probability`: of `main`, 0 to 1; None if it was not detected.
    """

    of_runs: list[str]
    main: str
    probability: float | None


def spoken_languages(
    model: WhisperModel,
    samples: NDArray[np.float32],
    runs: Sequence[Run],
    *,
    among: frozenset[str],
    likely: str | None,
) -> SpokenLanguages:
    """Find the language of each stretch of speech.

    `model`: one for several languages. `samples`: 1-D float32, 16 kHz, mono, -1 to 1. `runs`: start and end
    of each stretch, in samples; at least one. `among`: the languages to choose from; the model knows at least
    one of them. Probabilities are shares among these. `likely`: the language if none is clear in any stretch,
    unless it is not in `among` or the model does not know it.
    """
    heard = [_RunLanguage(run) for run in runs]
    sample = _spread(heard)
    _listen(model, samples, sample, among)
    clear = _clear(sample)
    if len(clear) > 1:
        _listen(model, samples, [each for each in heard if each.is_long and not each.chances], among)
        return _several(heard)
    main = max(sample[0].chances, key=lambda language: _share(language, sample))
    if likely in sample[0].chances and not clear:
        main = likely
    return SpokenLanguages([main] * len(runs), main, _share(main, sample))


@dataclasses.dataclass(slots=True)
class _RunLanguage:
    """`chances`: the probability of each language that may be spoken, by its code; empty if unknown."""

    run: Run
    chances: dict[str, float] = dataclasses.field(default_factory=dict[str, float])

    def __len__(self) -> int:
        return self.run[1] - self.run[0]

    @property
    def is_long(self) -> bool:
        """Whether the stretch is long enough for a clear language."""
        return len(self) >= _SHORT

    @property
    def language(self) -> str | None:
        """The language that is spoken; None if it is not clear."""
        if not self.is_long or not self.chances:
            return None
        best = max(self.chances, key=lambda language: self.chances[language])
        return best if self.chances[best] >= _CLEAR else None


def _spread(heard: Sequence[_RunLanguage]) -> list[_RunLanguage]:
    """Pairs of neighbours from all over the piece, because people who take turns may have two languages."""
    long = [each for each in heard if each.is_long] or list(heard)
    if len(long) <= 2 * _PAIRS:
        return long
    firsts = (len(long) * (2 * pair + 1) // (2 * _PAIRS) for pair in range(_PAIRS))
    return [long[index] for first in firsts for index in (first - 1, first)]


def _listen(
    model: WhisperModel, samples: NDArray[np.float32], heard: Sequence[_RunLanguage], among: frozenset[str]
) -> None:
    """Find the chances of each language in each stretch."""

    def listen(some: Sequence[_RunLanguage]) -> None:
        starts = [samples[each.run[0] : each.run[1]][: _SECONDS * RATE] for each in some]
        frames = [pad_or_trim(model.feature_extractor(each), _SECONDS * _FRAMES) for each in starts]
        answers = model.model.detect_language(model.encode(np.stack(frames)))
        for each, answer in zip(some, answers, strict=True):
            each.chances = _shares({token.strip("<|>"): chance for token, chance in answer}, among)

    batches = [heard[at : at + _AT_ONCE] for at in range(0, len(heard), _AT_ONCE)]
    with ThreadPoolExecutor(_BATCHES_AT_ONCE) as pool:
        list(pool.map(listen, batches))


def _shares(chances: Mapping[str, float], among: frozenset[str]) -> dict[str, float]:
    kept = {language: chance for language, chance in chances.items() if language in among}
    left = 1.0 - sum(chance for language, chance in chances.items() if language not in among)
    total = max(left, sum(kept.values())) or 1.0  # the sum of all chances is 1 but for rounding
    return {language: chance / total for language, chance in kept.items()}


def _clear(heard: Iterable[_RunLanguage]) -> set[str]:
    return {each.language for each in heard if each.language is not None}


def _share(language: str, heard: Sequence[_RunLanguage]) -> float:
    """The mean probability of a language, by the length of the stretches."""
    chances = sum(each.chances.get(language, 0.0) * len(each) for each in heard)
    return round(min(chances / sum(map(len, heard)), 1.0), 4)


def _several(heard: Sequence[_RunLanguage]) -> SpokenLanguages:
    """A stretch whose language is not clear has that of the one before."""
    current = next(each.language for each in heard if each.language is not None)
    of_runs = [current := each.language or current for each in heard]
    lengths = dict.fromkeys(of_runs, 0)
    for each, language in zip(heard, of_runs, strict=True):
        lengths[language] += len(each)
    main = max(lengths, key=lambda language: lengths[language])
    its = [each for each, language in zip(heard, of_runs, strict=True) if language == main and each.chances]
    return SpokenLanguages(of_runs, main, _share(main, its))
