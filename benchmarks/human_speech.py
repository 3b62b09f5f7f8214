"""Transcripts of people's recorded voices: word error, language, speakers, and words that nobody said.

Run `python -m benchmarks.human_speech`; benchmarks/prompts.py says where the recordings come from. Lapel's
whole pipeline, `WhisperModel.transcribe` and `BatchedInferencePipeline.transcribe` get the same files and the
same weights. All detect the language, one for each file. Nothing is timed, so other work may use the machine.

The files are for measurements alone: no threshold was chosen with them. Words are compared without accents,
because many of the Spanish texts lack them; mistakes of spelling in the texts count as errors of everyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import unicodedata
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import jiwer
import numpy as np

from benchmarks.human_audio import Known, conversations, hard, one_person
from benchmarks.prompts import unpacked
from benchmarks.report import Row, show
from benchmarks.speech_engines import PEERS, Lapel, Peer, started_lapel, started_peer
from lapel.slices.transcription.models.whisper import recognizer
from lapel.slices.transcription.speech.transcript import Segment
from lapel.slices.transcription.speech.word_error import normalised
from tests.support.diarization import Turn, errors
from tests.support.samples import RATE, decoded

THREADS = 2
_LAPEL = "Lapel"
_NO_WINDOW_RULES = "Lapel without the rules for silent and repetitive windows"
_NO_DETECTION = "Lapel without speech detection"
# The confidence below which a word counts as doubtful in this table. Lapel itself has no such limit.
_DOUBTFUL = 0.5


@dataclass(frozen=True, slots=True)
class _Heard:
    """The answer of one transcriber. `sure`: the confidence of each word, if it tells them."""

    words: list[str]
    language: str | None
    sure: list[float] = field(default_factory=list[float])
    turns: list[Turn] = field(default_factory=list[Turn])


@dataclass(frozen=True, slots=True)
class _Result:
    """What each transcriber heard in a file, by its name."""

    known: Known
    heard: dict[str, _Heard]

    def word_error(self, name: str) -> tuple[int, int]:
        """Wrong, missing and additional words, and the number of words that were said."""
        said = _folded(self.known.text)
        found = jiwer.process_words(" ".join(said), " ".join(self.heard[name].words))
        return found.substitutions + found.deletions + found.insertions, len(said)

    def invented(self, name: str) -> list[int]:
        """Indices of the words that were not said: all, or those that the best alignment adds or replaces."""
        words = self.heard[name].words
        if not self.known.text or not words:
            return list(range(len(words)))
        found = jiwer.process_words(" ".join(_folded(self.known.text)), " ".join(words))
        return [
            index
            for chunk in found.alignments[0]
            if chunk.type in ("insert", "substitute")
            for index in range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        ]


def measure() -> list[Row]:
    """Word error, language and speakers of speech; invented words, and what the rules against them cost."""
    with tempfile.TemporaryDirectory(prefix="lapel-bench-") as name, unpacked() as packages:
        folder = Path(name)
        alone, talks, others = (make(packages, folder) for make in (one_person, conversations, hard))
        results = asyncio.run(_results(folder, [*alone, *talks, *others]))
        clean, difficult = results[: len(alone + talks)], results[len(alone + talks) :]
        for rules in (_NO_WINDOW_RULES, _NO_DETECTION):
            _without(rules, results)
    rows = [row for result in clean for row in _of_speech(result)]
    rows += map(_of_inventions, difficult)
    return [*rows, *_of_rules(results[: len(alone)], clean[len(alone) :], difficult)]


async def _results(folder: Path, files: Sequence[Known]) -> list[_Result]:
    with started_peer(folder) as peer:
        async with started_lapel(folder) as lapel:
            return [_Result(known, await _heard(known, lapel, peer)) for known in files]


async def _heard(known: Known, lapel: Lapel, peer: Peer) -> dict[str, _Heard]:
    _, outcome = await lapel.run(known.path)
    transcript = outcome.transcript
    heard = {_LAPEL: _by_lapel(transcript.segments, transcript.language)}
    for name, size in PEERS.items():
        told = await asyncio.to_thread(peer.run, known.path, size)
        heard[name] = _Heard(_folded(told.text), told.language)
    return heard


def _without(rules: str, results: Sequence[_Result]) -> None:
    """Add to the results what Lapel's recognizer hears without some of its rules."""
    whisper = recognizer.Whisper("", threads=THREADS)
    with _no_window_rules() if rules == _NO_WINDOW_RULES else _no_detection():
        for result in results:
            samples = decoded(result.known.path).astype(np.float32) / np.float32(32768)
            heard = whisper.listen(samples, offset=0, language=None, report=lambda _: None)
            result.heard[rules] = _by_lapel(heard.segments, heard.language)


@contextmanager
def _no_window_rules() -> Generator[None]:
    """No window is silent, and none is repetitive."""
    with contextlib.ExitStack() as changes:
        for limit in ("_NO_SPEECH", "_REPETITIVE"):
            changes.enter_context(patch.object(recognizer, limit, float("inf")))
        yield


@contextmanager
def _no_detection() -> Generator[None]:
    """Everything is speech."""

    def all_of_it(samples: recognizer.Samples) -> list[tuple[float, float]]:
        return [(0.0, len(samples) / RATE)]

    with patch.object(recognizer, "speech", all_of_it):
        yield


def _by_lapel(segments: Sequence[Segment], language: str | None) -> _Heard:
    """A word of the text may be several words of Lapel (`l'` and `aide`): the least confidence counts."""
    letters = [
        each.confidence for segment in segments for each in segment.words or () for _ in _letters(each.word)
    ]
    words = _folded(" ".join(segment.text for segment in segments))
    lengths = [len(_letters(word)) for word in words]
    ends = list(itertools.accumulate(lengths, initial=0))
    sure = [min(letters[start:end]) for start, end in itertools.pairwise(ends)]
    turns = [(each.start, each.end, each.speaker) for each in segments if isinstance(each.speaker, str)]
    return _Heard(words, language, sure, turns)


def _letters(text: str) -> str:
    return "".join(_folded(text)).replace("'", "")


def _folded(text: str) -> list[str]:
    """The normalised words without accents."""
    bare = unicodedata.normalize("NFD", " ".join(normalised(text)))
    return "".join(each for each in bare if not unicodedata.combining(each)).split()


def _of_speech(result: _Result) -> list[Row]:
    """Word error and speakers of a file, in the order of the transcribers: Lapel and its peers."""
    known = result.known
    wrong, words = result.word_error(_LAPEL)
    peers = [
        f"{name} {100 * result.word_error(name)[0] / words:.1f} % ({result.heard[name].language})"
        for name in PEERS
    ]
    turns = result.heard[_LAPEL].turns
    found = errors(known.turns, turns)
    return [
        Row(
            f"{known.name}: word error",
            100 * wrong / words,
            "%",
            detail=f"{words} words, language {result.heard[_LAPEL].language}; {'; '.join(peers)}",
        ),
        Row(
            f"{known.name}: speakers found",
            len({speaker for _, _, speaker in turns}),
            "",
            detail=f"of {known.speakers}; wrong speaker in {100 * found.confused:.1f} % of the speech,"
            f" missed {100 * found.missed:.1f} %, false alarm {100 * found.false_alarm:.1f} %",
        ),
    ]


def _of_inventions(result: _Result) -> Row:
    """The words of each transcriber that nobody said."""
    heard = result.heard
    counts = [
        f"{name} {len(result.invented(name))} of {len(heard[name].words)}"
        for name in (*PEERS, _NO_WINDOW_RULES, _NO_DETECTION)
    ]
    doubtful = sum(heard[_LAPEL].sure[index] < _DOUBTFUL for index in result.invented(_LAPEL))
    said = f"{len(_folded(result.known.text))} said" if result.known.text else "nothing said"
    return Row(
        f"{result.known.name}: invented words",
        len(result.invented(_LAPEL)),
        "",
        detail=f"of {len(heard[_LAPEL].words)} ({said}), {doubtful} with confidence below {_DOUBTFUL};"
        f" {'; '.join(counts)}",
    )


def _of_rules(alone: Sequence[_Result], talks: Sequence[_Result], difficult: Sequence[_Result]) -> list[Row]:
    """What the rules against invented words cost in clear speech."""
    rows: list[Row] = []
    for name in (_LAPEL, _NO_WINDOW_RULES, _NO_DETECTION):
        wrong, words = _sums(alone, name)
        wrong_in_talks, in_talks = _sums(talks, name)
        invented = sum(len(result.invented(name)) for result in difficult)
        rows.append(
            Row(
                f"{name}: word error where one person speaks",
                100 * wrong / words,
                "%",
                detail=f"{wrong} of {words} words; in conversations {100 * wrong_in_talks / in_talks:.1f} %"
                f" ({wrong_in_talks} of {in_talks}); {invented} words invented in the other files",
            )
        )
    sure = [each for result in alone for each in result.heard[_LAPEL].sure]
    low = sum(each < _DOUBTFUL for each in sure)
    detail = f"{low} of {len(sure)}, where one person speaks"
    return [*rows, Row(f"words with confidence below {_DOUBTFUL}", 100 * low / len(sure), "%", detail=detail)]


def _sums(results: Sequence[_Result], name: str) -> tuple[int, int]:
    """Errors and words of several files."""
    counts = [result.word_error(name) for result in results]
    return sum(wrong for wrong, _ in counts), sum(words for _, words in counts)


if __name__ == "__main__":
    show(measure())
