"""OpenAI's models, each asked for what it knows, and what its answers become."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.speech.assembly import assemble
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.messages import Groups
from tests.support.speech_faults import status
from tests.support.speech_providers import Fake, serving_fake
from tests.transcription.office import office


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-transcribe", {"response_format": ["json"], "languages[]": ["de"]}),
        ("gpt-4o-transcribe", {"response_format": ["json"], "language": ["de"]}),
        ("gpt-4o-mini-transcribe-2025-12-15", {"response_format": ["json"], "language": ["de"]}),
        (
            "gpt-4o-transcribe-diarize",
            {"response_format": ["diarized_json"], "language": ["de"], "chunking_strategy": ["auto"]},
        ),
        (
            "whisper-1",
            {
                "response_format": ["verbose_json"],
                "language": ["de"],
                "timestamp_granularities[]": ["word", "segment"],
            },
        ),
    ],
)
async def test_each_model_is_asked_for_what_it_knows(
    clip: Clip, model: str, fields: dict[str, list[str]]
) -> None:
    async with serving_fake(Fake("openai")) as fake:
        heard = await fake.hear(clip, Wish(language="deu"), model=model)
    assert fake.complaints == []
    assert {name: each for name, each in fake.fields.items() if name != "file"} == fields | {"model": [model]}
    assert " ".join(each.text for each in heard.segments) == "Good morning. Hello there!"
    assert heard.model == model


async def test_a_service_of_ones_own_is_asked_as_whisper(clip: Clip) -> None:
    async with serving_fake(Fake("openai", any_model=True)) as fake:
        heard = await fake.hear(clip, model="Systran/faster-whisper-large-v3")
    assert fake.complaints == []
    assert len(heard.segments) == 2


async def test_a_model_that_knows_no_times_gives_one_segment_per_piece(clip: Clip) -> None:
    """However long the piece: finer times, and a speaker, would be invented."""
    long = msgspec.structs.replace(clip, start_ms=1_000, end_ms=4_000)
    async with serving_fake(Fake("openai")) as fake:
        heard = await fake.hear(long, model="gpt-transcribe")
    assert (heard.language, heard.timed) == ("en", False)
    text = "One two three. " * 200
    segment = msgspec.structs.replace(heard.segments[0], start=0.0, end=280.0, text=text.strip())
    said = msgspec.structs.replace(heard, segments=[segment], speech=[(0.0, 280.0)])
    groups = Groups(windows=[(0.0, 1.5), (1.0, 2.5)], labels=[0, 1])
    made = assemble([said, heard], [(0, 280_000), (280_000, 300_000)], groups, duration_ms=300_000)
    assert [(each.start, each.end) for each in made.segments] == [(0, 280), (280, 280.001)]
    assert made.segments[0].text == text.strip()
    assert all(each.speaker is msgspec.UNSET for each in made.segments)


async def test_a_language_that_the_model_does_not_know_is_left_out(clip: Clip) -> None:
    async with serving_fake(Fake("openai", unknown_languages=frozenset({"nn"}))) as fake:
        with capture_logs() as logs:
            heard = await fake.hear(clip, Wish(language="nn"), model="gpt-transcribe")
        assert len(fake.calls) == 2
        assert not fake.fields.keys() & {"language", "languages[]"}
        assert (fake.complaints, heard.language) == ([], "en")
        assert [each["event"] for each in logs] == ["speech.language_left_out"]
        with pytest.raises(SpeechError, match="Unsupported language code"):  # it reads the field of old
            await fake.hear(clip, Wish(language="nn"), model="whisper-1")


async def test_another_refusal_is_not_asked_again(clip: Clip) -> None:
    async with serving_fake(Fake("openai")) as fake:
        fake.fail(status(400, {"error": {"message": "Audio file might be corrupted.", "param": "file"}}))
        with pytest.raises(SpeechError, match="might be corrupted"):
            await fake.hear(clip, Wish(language="en"), model="gpt-transcribe")
        assert len(fake.calls) == 1


async def test_a_diarizing_model_tells_speakers_in_one_file(clip: Clip) -> None:
    async with serving_fake(Fake("openai")) as fake:
        model = "gpt-4o-transcribe-diarize"
        heard = await fake.hear(clip, model=model)
        assert [each.speaker for each in heard.segments] == ["SPEAKER_0", "SPEAKER_1"]
        heard = await fake.hear(clip, Wish(diarization=False), model=model)
        assert {each.speaker for each in heard.segments} == {msgspec.UNSET}
        calls = len(fake.calls)
        with pytest.raises(SpeechError, match=r"takes 1400 s of audio at most, .* has 1401 s"):
            await fake.hear(msgspec.structs.replace(clip, end_ms=1_401_000), model=model)
        assert len(fake.calls) == calls  # nothing was sent
    assert fake.complaints == []


async def test_more_than_half_a_minute_is_diarized(
    clip: Clip, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pcm = tmp_path_factory.mktemp("long") / "audio.pcm"
    pcm.write_bytes(clip.pcm.read_bytes() * 9)
    longer = msgspec.structs.replace(clip, pcm=pcm, end_ms=pcm.stat().st_size // 32)
    async with serving_fake(Fake("openai")) as fake:
        heard = await fake.hear(longer, model="gpt-4o-transcribe-diarize")
        assert fake.seconds > 30
    assert (fake.complaints, len(heard.segments)) == ([], 2)


async def test_a_model_that_is_none_is_told(clip: Clip) -> None:
    async with serving_fake(Fake("openai")) as fake:
        with pytest.raises(SpeechError, match=r"answered 404.*--model NAME"):
            await fake.hear(clip, model="gpt-4o-transcribe-new")


async def test_a_used_up_quota_is_not_asked_again(clip: Clip) -> None:
    for code in ("insufficient_quota", "credit_balance_exhausted"):
        async with serving_fake(Fake("openai")) as fake:
            fake.fail(status(429, {"error": {"message": "You exceeded it.", "type": code, "code": code}}))
            with pytest.raises(SpeechError, match="credit or quota is used up"):
                await fake.hear(clip)
            fake.fail(status(429, {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}))
            with pytest.raises(TryAgain):
                await fake.hear(clip)


async def test_what_a_model_does_not_know_is_in_no_transcript(tmp_path: Path, fresh_database: str) -> None:
    """The whole way: a recording as one segment without a speaker, or with speakers that a model tells."""
    async with office(tmp_path, fresh_database, engine="openai") as opened:
        for model, speakers in (
            ("gpt-transcribe", [None]),
            ("gpt-4o-transcribe-diarize", ["SPEAKER_0", "SPEAKER_1"]),
        ):
            await opened.value("UPDATE provider_slots SET model = $1", model)
            _, transcription_id = await opened.transcribe()
            done = await opened.ended(transcription_id)
            assert (done["status"], done["model"], done["language"]) == (
                "completed", model, "en" if model == "gpt-transcribe" else None,
            )  # fmt: skip
            assert [each.get("speaker") for each in done["segments"]] == speakers
            if speakers == [None]:
                (segment,) = done["segments"]
                assert (segment["start"], segment["end"] * 1000) == (0, done["duration_ms"])
    assert opened.fake.complaints == []
