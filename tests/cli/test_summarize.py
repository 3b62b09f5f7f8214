"""`lapel summarize`: a summary of a transcript without a server; what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lapel.cli.shared.faults import CommandError
from lapel.cli.summarize.summarize import summarize
from lapel.cli.summarize.transcript_files import read_transcript
from lapel.slices.language_models.local.local_model import LocalModels
from tests.summaries.support import MEETING, segments_of_talk


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an embedding model, which takes a second to load, and without a language model."""
    monkeypatch.setenv("LAPEL_LANGUAGE_MODEL", "extractive")
    monkeypatch.setattr("lapel.slices.embeddings.service.installed_model", lambda: None)
    monkeypatch.setattr("lapel.foundation.telemetry.configure", lambda *_: None)


@pytest.fixture
def transcript(tmp_path: Path) -> Path:
    """A transcript as the API answers it."""
    segments = [
        {"start": each.start, "end": each.end, "text": each.text, "confidence": 0.9, "speaker": speaker}
        for each, (speaker, _) in zip(segments_of_talk(MEETING), MEETING, strict=True)
    ]
    file = tmp_path / "meeting.json"
    file.write_text(json.dumps({"id": "txn_1", "language": "en", "segments": segments}))
    return file


def test_it_prints_markdown_with_times(transcript: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    summarize(str(transcript))
    shown = capfdbinary.readouterr().out.decode()
    assert shown.startswith("# meeting.json\n\n*general_notes, by extractive*\n\n## Overview\n")
    assert "- Then we have decided to keep the old sensors for the first 500 units. [0:08]\n" in shown


def test_it_prints_json_with_evidence(transcript: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summarize(str(transcript), template="sales", json=True)
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (printed["template"], printed["model"]) == ("sales_call", "extractive")
    assert len(printed["output"]["evidence"]["next_steps"]) == len(printed["output"]["next_steps"]) > 0


def test_a_terminated_command_puts_the_model_away(transcript: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_away: list[bool] = []

    async def making(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(30)

    async def aclose(_: LocalModels) -> None:
        put_away.append(True)

    monkeypatch.setattr("lapel.cli.summarize.summarize.make_summary", making)
    monkeypatch.setattr(LocalModels, "aclose", aclose)
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as left:
            summarize(str(transcript))
    finally:
        signal.signal(signal.SIGTERM, former)
    assert (left.value.code, put_away) == (128 + signal.SIGTERM, [True])


def test_a_text_has_speakers_and_no_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "minutes.txt"
    file.write_text("\n".join(f"{speaker}: {text}" for speaker, text in MEETING))
    summarize(str(file), prompt="Which customers are told, and by whom?", json=True)
    output = json.loads(capsys.readouterr().out)["output"]
    assert set(output) == {"content"}
    assert "SPEAKER_1: Marta will write to the customers in Norway tomorrow." in output["content"]


def test_what_lapel_transcribe_printed_is_a_transcript_too(transcript: Path, tmp_path: Path) -> None:
    file = tmp_path / "batch.json"
    file.write_text(
        json.dumps({"files": [{"file": "a.wav", "transcript": json.loads(transcript.read_text())}]})
    )
    assert len(read_transcript(str(file)).segments) == len(MEETING)


@pytest.mark.parametrize("printed_by_lapel", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_missing_audio_is_told(
    transcript: Path, printed_by_lapel: bool, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A summary of half a conversation looks like one of the whole."""
    lack = {"warnings": [{"code": "audio_gap", "message": "6.0 s of audio are missing at 0:00:06."}]}
    read: dict[str, Any] = json.loads(transcript.read_text())
    transcript.write_text(
        json.dumps({"files": [{"transcript": read, **lack}]} if printed_by_lapel else {**read, **lack})
    )
    summarize(str(transcript), json=as_json)
    assert f"{transcript}: 6.0 s of audio are missing at 0:00:06.\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("gone.json", None, {}, "No such file"),
        ("list.json", "[]", {}, "no transcript as JSON"),
        ("deep.json", "[" * 100_000, {}, "no transcript as JSON"),
        ("empty.json", '{"files": []}', {}, "0 transcripts"),
        ("short.txt", "Hello.", {}, "fewer than three words"),
        ("sound.txt", "Some words \udcff to read.", {}, "must be UTF-8"),
        ("some.txt", "Some words to read.", {"template": "poem"}, "there is no such template"),
        ("some.txt", "Some words to read.", {"prompt": "short"}, "10 to 10,000"),
        ("some.txt", "Some words to read.", {"prompt": 'Return {"a": 1} as JSON'}, "needs a language model"),
    ],
)
def test_it_says_what_is_wrong(
    tmp_path: Path, name: str, content: str | None, options: dict[str, Any], said: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content, errors="surrogateescape")
    with pytest.raises(CommandError, match=said):
        summarize(str(file), **options)
