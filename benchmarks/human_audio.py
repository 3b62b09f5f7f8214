"""Files with known words, times and speakers, of the prompts that people recorded; and files without words.

They show how good transcripts are. No threshold was chosen, and none may be chosen, with these files.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.prompts import Prompt, loud, music, prompts
from benchmarks.speech_audio import encode
from tests.support.conversations import Conversation
from tests.support.diarization import Turn
from tests.support.samples import RATE, decoded, faster

_SEED = 14
# Seconds.
_ONE_PERSON, _TALK, _HARD, _SHORT, _TUNE = 90, 45, 45, 20, 9
# Prompts in a turn of a conversation, at most.
_IN_TURN = 3
_ROOM = 0.0006  # of full scale, standard deviation: a quiet room

Samples = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Known:
    """An audio file. `text`: its words, or empty if there are none. `turns`: who speaks when."""

    name: str
    path: Path
    text: str = ""
    language: str = ""
    turns: list[Turn] = field(default_factory=list[Turn])

    @property
    def speakers(self) -> int:
        """The number of people who speak."""
        return len({speaker for _, _, speaker in self.turns})


@dataclass(frozen=True, slots=True)
class _Said:
    voice: str
    text: str
    samples: NDArray[np.int16]


def one_person(packages: Path, folder: Path) -> list[Known]:
    """A file for each of English, Spanish and French, in which one person speaks."""
    return [
        _written(folder, name, language, _until(_shuffled(packages, language), _ONE_PERSON))
        for name, language in (("English", "en"), ("Spanish", "es"), ("French", "fr"))
    ]


def conversations(packages: Path, folder: Path) -> list[Known]:
    """Conversations of two and three people.

    The first is English alone, of Allison and the person who reads in a conversation of the tests. In the
    others, each person speaks a language of their own.
    """
    english, french, italian, spanish = (_shuffled(packages, each) for each in ("en", "fr", "it", "es"))
    reader = iter(_reader())
    return [
        _written(folder, "two people, English", "en", _in_turns([english, reader], _TALK)),
        _written(folder, "two people, Spanish and Italian", "", _in_turns([spanish, italian], _TALK)),
        _written(folder, "two people, English and French", "", _in_turns([english, french], _TALK)),
        _written(folder, "three people, three languages", "", _in_turns([english, french, italian], _TALK)),
    ]


def hard(packages: Path, folder: Path) -> list[Known]:
    """Files in which a transcriber invents words: speech that nobody understands, music, noise, silence."""
    said = _until(_shuffled(packages, "en"), _HARD)
    text = " ".join(each.text for each in said)
    speech = _joined(said)[0]
    random_numbers = np.random.default_rng(_SEED)
    noise = _pink(len(speech), random_numbers)
    files = [
        ("speech at threefold speed", text, faster(speech, 3)),
        (
            "speech at threefold speed and pitch",
            text,
            speech[: len(speech) // 3 * 3].reshape(-1, 3).mean(axis=1),
        ),
        ("speech 10 dB below noise", text, (speech + noise * _level(speech) * 10**0.5) / 4),
        ("music", "", np.concatenate([_tune(path) for path in music(packages)])),
        ("tones with a rhythm", "", _tones(_SHORT, random_numbers)),
        ("noise", "", _pink(_SHORT * RATE, random_numbers) * 0.1),
        ("a quiet room", "", random_numbers.normal(0, _ROOM, _SHORT * RATE)),
        ("digital silence", "", np.zeros(_SHORT * RATE)),
    ]
    return [Known(name, _saved(folder, name, samples), words, "en") for name, words, samples in files]


def _shuffled(packages: Path, language: str) -> Iterator[_Said]:
    found = prompts(packages, language)
    random.Random(_SEED).shuffle(found)
    return (_of_prompt(each) for each in found)


def _of_prompt(prompt: Prompt) -> _Said:
    return _Said(prompt.voice, prompt.text, prompt.samples)


def _reader() -> list[_Said]:
    """The turns of the person who reads in the conversation of three."""
    talk = Conversation("three-speakers")
    samples = talk.samples()
    return [
        _Said("reader", turn.text, samples[int(turn.speech[0][0] * RATE) : int(turn.speech[-1][1] * RATE)])
        for turn in talk.turns
        if turn.speaker == "reader"
    ]


def _until(said: Iterator[_Said], seconds: float) -> list[_Said]:
    """The first ones, until they are so long together."""
    taken: list[_Said] = []
    while sum(len(each.samples) for each in taken) < seconds * RATE:
        taken.append(next(said))
    return taken


def _in_turns(people: Sequence[Iterator[_Said]], seconds: float) -> list[_Said]:
    """Turns of one to three prompts, until they are so long together or a person has said everything."""
    chance = random.Random(_SEED)
    said: list[_Said] = []
    for person in itertools.cycle(people):
        turn = list(itertools.islice(person, chance.randint(1, _IN_TURN)))
        said += turn
        if not turn or sum(len(each.samples) for each in said) >= seconds * RATE:
            return said
    return said


def _written(folder: Path, name: str, language: str, said: Sequence[_Said]) -> Known:
    samples, turns = _joined(said)
    return Known(name, _saved(folder, name, samples), " ".join(each.text for each in said), language, turns)


def _joined(said: Sequence[_Said]) -> tuple[Samples, list[Turn]]:
    """All with pauses of 0.2 to 0.8 s between, in a quiet room; and who speaks when."""
    chance = np.random.default_rng(_SEED)
    parts: list[Samples] = []
    turns: list[Turn] = []
    at = 0
    for each in said:
        pause = np.zeros(int(chance.uniform(0.2, 0.8) * RATE))
        at += len(pause)
        turns += [(at / RATE + start, at / RATE + end, each.voice) for start, end in loud(each.samples)]
        parts += [pause, each.samples / 32768]
        at += len(each.samples)
    samples = np.concatenate([*parts, np.zeros(RATE)])
    return samples + chance.normal(0, _ROOM, len(samples)), turns


def _saved(folder: Path, name: str, samples: Samples) -> Path:
    path = folder / f"{name}.opus".replace(" ", "-")
    encode(path, (np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return path


def _level(samples: Samples) -> float:
    return float(np.sqrt((samples**2).mean()))


def _pink(count: int, chance: np.random.Generator) -> Samples:
    """Noise with as much power in each octave; its level is 1."""
    spectrum = np.fft.rfft(chance.normal(size=count))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    return noise / _level(noise)


def _tune(path: Path) -> Samples:
    """The middle of a piece of music."""
    samples = decoded(path, form="g722") / 32768
    start = (len(samples) - _TUNE * RATE) // 2
    return samples[start : start + _TUNE * RATE]


def _tones(seconds: int, chance: np.random.Generator) -> Samples:
    """A melody of fading tones with overtones, and a beat of noise: four notes a second."""
    length = RATE // 4
    time = np.arange(length) / RATE
    notes: list[Samples] = []
    for number in range(seconds * 4):
        pitch = 220 * 2 ** (int(chance.choice([0, 2, 4, 7, 9, 12])) / 12)
        tone = sum(np.sin(2 * np.pi * pitch * part * time) / part for part in (1, 2, 3, 4))
        beat = chance.normal(size=length) * (np.exp(-time * 60) if number % 2 == 0 else 0)
        notes.append(0.15 * tone * np.exp(-time * 6) + 0.1 * beat)
    return np.concatenate(notes)
