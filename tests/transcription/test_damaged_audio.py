"""What is missing in an audio is told with its transcription, its recording and in the events."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.support.postgres import create_database, drop_database
from tests.support.speech_answers import DEEPGRAM
from tests.transcription.audio.signals import wav
from tests.transcription.audio.torn import noise_over
from tests.transcription.office import SPEECH, Office, office

NOISY = noise_over(SPEECH, 20_000, 50_000)


@pytest.fixture(scope="module")
async def damaged_office(postgres: EmbeddedPostgres, module_folder: Path) -> AsyncGenerator[Office]:
    database = create_database(postgres, "damaged", "template")
    async with office(module_folder, database) as opened:
        yield opened
    drop_database(postgres, "damaged")


@pytest.fixture
def shop(damaged_office: Office) -> Office:
    damaged_office.fake.answer = None
    return damaged_office


async def event_of(shop: Office, resource_id: str, kind: str) -> dict[str, Any]:
    body = await shop.value(
        "SELECT body FROM events WHERE world_id = $1 AND resource_id = $2 AND type = $3",
        shop.tenant.test_world,
        resource_id,
        kind,
    )
    return json.loads(body)["data"]


async def listed(shop: Office, recording_id: str) -> dict[str, Any]:
    page = await shop.call("GET", "/v1/recordings?limit=100", 200)
    return next(each for each in page["data"] if each["id"] == recording_id)


async def test_a_whole_audio_has_no_warnings(shop: Office) -> None:
    recording_id, transcription_id = await shop.transcribe(SPEECH)
    done = await shop.ended(transcription_id)
    assert (done["status"], done["warnings"], done["damaged"]) == ("completed", [], False)
    completed = await event_of(shop, transcription_id, "transcription.completed")
    assert (completed["damaged"], completed["transcription"]["damaged"]) == (False, False)
    recording = await shop.read(recording_id)
    assert (recording["damaged"], recording["warnings"]) == (False, [])
    assert (await event_of(shop, recording_id, "recording.uploaded"))["damaged"] is None  # not examined yet


async def test_noise_in_the_middle_of_an_opus(shop: Office) -> None:
    recording_id, transcription_id = await shop.transcribe(NOISY)
    done = await shop.ended(transcription_id)
    assert done["status"] == "completed"
    (warning,) = done["warnings"]
    assert warning["code"] == "audio_gap"
    assert warning["start_ms"] == warning["end_ms"] == pytest.approx(5_993, abs=1_100)
    assert warning["missing_ms"] + done["duration_ms"] == pytest.approx(24_730, abs=50)
    assert f"{warning['missing_ms'] / 1000:.1f} s of audio are missing" in warning["message"]
    completed = await event_of(shop, transcription_id, "transcription.completed")
    assert completed["warnings"] == completed["transcription"]["warnings"] == [warning]
    assert done["damaged"] is completed["damaged"] is completed["transcription"]["damaged"] is True
    recording = await shop.read(recording_id)
    assert (recording["damaged"], recording["warnings"]) == (True, [warning])
    assert (await listed(shop, recording_id))["warnings"] == [warning]
    exported = await shop.client.get(
        f"/v1/transcriptions/{transcription_id}/export?format=txt", headers=shop.tenant.headers
    )
    assert f"[{warning['message']}]" in exported.text
    again = (
        await shop.post("/v1/transcriptions", 201, {"recording_id": recording_id, "provider": "deepgram"})
    )["id"]
    assert (await shop.ended(again))["warnings"] == [warning]


async def test_no_segment_spans_what_is_missing(shop: Office) -> None:
    """A service that hears the whole file hears one sentence where there are halves of two."""
    answer = copy.deepcopy(DEEPGRAM)
    (_, transcription_id) = await shop.transcribe(NOISY)
    at = (await shop.ended(transcription_id))["warnings"][0]["start_ms"] / 1000
    words = answer["results"]["channels"][0]["alternatives"][0]["words"]
    for number, word in enumerate(words):
        word |= {"start": at - 1 + number * 0.5, "end": at - 0.5 + number * 0.5, "speaker": 0}
    (utterance, _) = answer["results"]["utterances"]
    utterance |= {"transcript": "Good morning. Hello there!", "words": words, "speaker": 0}
    utterance |= {"start": at - 1, "end": at + 1}
    answer["results"]["utterances"] = [utterance]
    shop.fake.answer = answer
    _, transcription_id = await shop.transcribe(NOISY)
    before, after = (await shop.ended(transcription_id))["segments"]
    assert (before["text"], "after_gap" in before) == ("Good morning.", False)
    assert (after["text"], after["after_gap"]) == ("Hello there!", True)
    assert before["end"] <= at <= after["start"]


async def test_an_opus_that_was_cut(shop: Office) -> None:
    recording_id, transcription_id = await shop.transcribe(SPEECH[:40_000])
    done = await shop.ended(transcription_id)
    (warning,) = done["warnings"]
    assert (warning["code"], warning["start_ms"], warning["end_ms"]) == (
        "audio_cut",
        done["duration_ms"],
        None,
    )
    assert warning["missing_ms"] is None
    assert (await shop.read(recording_id))["damaged"] is True


async def claimed(shop: Office, content: bytes, seconds: float) -> tuple[str, str]:
    recording_id = await shop.recording()
    upload = await shop.start(recording_id)
    await shop.put(upload, content)
    await shop.complete(recording_id, duration_seconds=seconds)
    made = await shop.post("/v1/transcriptions", 201, {"recording_id": recording_id, "provider": "deepgram"})
    return recording_id, made["id"]


async def test_what_the_client_declared_says_how_much_was_cut(shop: Office) -> None:
    _, transcription_id = await claimed(shop, SPEECH[:40_000], 24.73)
    done = await shop.ended(transcription_id)
    (warning,) = done["warnings"]
    assert warning["code"] == "audio_cut"
    assert warning["missing_ms"] == 24_730 - done["duration_ms"]


@pytest.mark.parametrize(("seconds", "codes"), [(26.9, []), (40, ["audio_shorter_than_claimed"]), (3, [])])
async def test_less_audio_than_the_client_declared(shop: Office, seconds: float, codes: list[str]) -> None:
    """Two seconds and a hundredth are a matter of the clock."""
    recording_id, transcription_id = await claimed(shop, SPEECH, seconds)
    done = await shop.ended(transcription_id)
    assert [each["code"] for each in done["warnings"]] == codes
    if codes:
        assert done["warnings"][0]["missing_ms"] == 40_000 - done["duration_ms"]
        assert (
            done["warnings"][0]["message"]
            == "The client declared 40.0 s of audio, and the file holds 24.7 s."
        )
    assert (await shop.read(recording_id))["damaged"] is bool(codes)


@pytest.mark.parametrize(
    ("content", "codes", "damaged"),
    [
        (b"The quick brown fox. " * 50, ("unsupported_format",), True),
        (SPEECH[:200], ("unsupported_format", "audio_corrupt"), True),
        (wav(bytes(999 * 32)), ("audio_too_short",), False),
    ],
)
async def test_an_audio_that_cannot_be_read_is_seen_at_the_recording(
    shop: Office, content: bytes, codes: tuple[str, ...], damaged: bool
) -> None:
    recording_id, transcription_id = await shop.transcribe(content)
    failed = await shop.ended(transcription_id)
    assert (failed["status"], failed["warnings"], failed["damaged"]) == ("failed", [], None)
    for shown in (await shop.read(recording_id), await listed(shop, recording_id)):
        (warning,) = shown["warnings"]
        assert warning["code"] == failed["error"]["code"]
        assert warning["code"] in codes
        assert (warning["message"], warning["start_ms"]) == (failed["error"]["message"], None)
        assert (shown["status"], shown["damaged"]) == ("uploaded", damaged)


async def test_an_audio_that_an_older_version_examined_is_examined_again(shop: Office) -> None:
    recording_id, transcription_id = await shop.transcribe(NOISY)
    first = await shop.ended(transcription_id)
    forget = """WITH known AS (UPDATE audio_facts SET warnings = NULL, gaps = NULL
        WHERE world_id = $1 AND recording_id = $2 RETURNING recording_id)
        UPDATE recordings SET damaged = NULL, warnings = NULL FROM known WHERE world_id = $1 AND id = $2"""
    await shop.value(forget, shop.tenant.test_world, recording_id)
    assert (await shop.read(recording_id))["damaged"] is None
    body = {"recording_id": recording_id, "provider": "deepgram"}
    again = (await shop.post("/v1/transcriptions", 201, body))["id"]
    assert (await shop.ended(again))["warnings"] == first["warnings"]
    assert (await shop.read(recording_id))["damaged"] is True
