"""The local models at work in a server: words, speakers, a killed engine, a deleted recording."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.sample import speech
from lapel.slices.embeddings.model.model_files import installed_model
from lapel.slices.transcription.speech.word_error import word_error
from tests.support.patience import patience
from tests.support.postgres import create_database, drop_database
from tests.transcription.needs import needs_weights
from tests.transcription.office import SLOW, SPEECH, Office, office

pytestmark = needs_weights
# For tests that need the engine at work, and no voices told apart.
WITHOUT_SPEAKERS = {"provider": "whisper", "language": "en", "diarization": False}


@pytest.fixture(scope="module")
async def shared(postgres: EmbeddedPostgres, module_folder: Path) -> AsyncGenerator[Office]:
    database = create_database(postgres, "local_office", "template")
    async with office(module_folder, database) as opened:
        yield opened
    drop_database(postgres, "local_office")


def engines() -> list[psutil.Process]:
    """The processes that hold a model, of this test process."""
    found: list[psutil.Process] = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if "lapel.slices.transcription.models.process.engine_child" in each.cmdline():
                found.append(each)
    return found


async def until_listening(office_: Office, transcription_id: str) -> psutil.Process:
    """Wait until the engine is at it; its process."""
    at_it = "SELECT stage = 'transcribe' AND lease IS NOT NULL FROM speech_work WHERE id = $1"
    async with patience(SLOW):
        while not (await office_.value(at_it, transcription_id) and engines()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return engines()[0]


async def search(office_: Office, recording_id: str, query: str) -> list[str]:
    """The recordings that a search in the recording's end user finds."""
    end_user_id = (await office_.read(recording_id))["end_user_id"]
    body = {"query": query, "end_user_id": end_user_id}
    found = await office_.post("/v1/recordings/search", 200, body)
    return [each["recording_id"] for each in found["results"]]


@pytest.mark.deep
async def test_what_was_said_by_whom_and_when_and_it_is_found(shared: Office) -> None:
    recording_id, transcription_id = await shared.transcribe(SPEECH, provider="whisper")
    done = await shared.ended(transcription_id, 90)
    assert recording_id in await search(shared, recording_id, "prudently")  # at once
    assert done["status"] == "completed", done
    assert word_error(speech().text, done["full_text"]) < 0.05
    assert (done["language"], done["model"], done["provider"]) == ("en", "whisper-base", "whisper")
    assert {each["speaker"] for each in done["segments"]} == {"SPEAKER_0"}
    with_words = await shared.get(f"{transcription_id}?include=words")
    words = [word for each in with_words["segments"] for word in each["words"]]
    assert "".join(word["word"] for word in words) == done["full_text"].replace(" ", "")
    assert all(word["end"] > word["start"] for word in words)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
    assert 0.5 < done["confidence"] <= 1
    if installed_model() is not None:  # a little later, in other words of another language
        async with patience(SLOW):
            question = "Er war ein egoistischer Mensch"
            while recording_id not in await search(shared, recording_id, question):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.mark.deep
async def test_an_engine_that_a_deletion_stops_in_mid_step_or_that_is_killed_is_started_again(
    shared: Office,
) -> None:
    recording_id, transcription_id = await shared.transcribe(SPEECH, **WITHOUT_SPEAKERS)
    engine = await until_listening(shared, transcription_id)
    engine.suspend()  # so that it is in mid-step for sure
    await shared.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    async with patience(SLOW):
        while engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    _, other = await shared.transcribe(**WITHOUT_SPEAKERS)
    again = await until_listening(shared, other)
    assert again.pid != engine.pid
    os.kill(again.pid, signal.SIGKILL)
    done = await shared.ended(other, 90)
    assert done["status"] == "completed", done
    assert [each.pid for each in engines()] != [again.pid]
