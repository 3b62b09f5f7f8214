"""What each provider is sent for what is asked for, and what its documented answers become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from lapel.slices.providers.choice import SpeechEngine
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.transcript import Word
from tests.support.speech_answers import ASSEMBLYAI, DEEPGRAM, ELEVENLABS, OPENAI
from tests.support.speech_providers import Fake, serving_fake

MODELS = {
    "deepgram": "general-nova-3", "assemblyai": "assemblyai-stt-3-7", "elevenlabs": "scribe_v2",
    "openai": "whisper-1",
}  # fmt: skip


def moved(clip: Clip, start_ms: int, end_ms: int) -> Clip:
    """Another part of the recording."""
    return msgspec.structs.replace(clip, start_ms=start_ms, end_ms=end_ms)


async def test_two_people_are_heard(fake: Fake, clip: Clip) -> None:
    heard = await fake.hear(clip)
    first, second = heard.segments
    assert [first.text, second.text] == ["Good morning.", "Hello there!"]
    assert (first.start, first.end, second.start, second.end) == (0.5, 1.3, 2.0, 2.9)
    told = fake.engine != "openai"
    assert [first.speaker, second.speaker] == (["SPEAKER_0", "SPEAKER_1"] if told else [msgspec.UNSET] * 2)
    assert isinstance(second.words, list)
    assert [word.word for word in second.words] == ["Hello", "there!" if told else "there"]
    assert all(0.9 < each.confidence < 1 for each in (first, second, *second.words))
    assert heard.speech == [(0.5, 1.3), (2.0, 2.9)]
    assert heard.language == "en"
    assert heard.language_probability == (0.97 if told else None)
    assert heard.model == MODELS[fake.engine]
    assert fake.seconds == pytest.approx((clip.end_ms - clip.start_ms) / 1000, abs=0.05)


NAMED: dict[SpeechEngine, tuple[str, str, str]] = {
    "deepgram": ("nova-2-meeting", "nova-2-meeting", "meeting-nova-2"),
    "assemblyai": ("universal-2, assemblyai-stt-3-7", '["universal-2", "assemblyai-stt-3-7"]', "universal-2"),
    "elevenlabs": ("scribe_v2_medical", "scribe_v2_medical", "scribe_v2_medical"),
    "openai": ("gpt-4o-transcribe", "gpt-4o-transcribe", "gpt-4o-transcribe"),
}


async def test_a_named_model_is_asked_for_and_told(fake: Fake, clip: Clip) -> None:
    name, sent, answered = NAMED[fake.engine]
    assert (await fake.hear(clip, model=name)).model == answered
    field = {"assemblyai": "speech_models", "elevenlabs": "model_id"}.get(fake.engine, "model")
    assert fake.fields[field] == [sent]


@pytest.mark.parametrize("engine", ["deepgram", "assemblyai"])
async def test_the_model_that_answered_is_told_and_not_the_one_that_was_wished(
    clip: Clip, engine: SpeechEngine
) -> None:
    """AssemblyAI falls back along its list, Deepgram to a model that knows the language."""
    answering = {"deepgram": "general-enhanced", "assemblyai": "universal-2"}[engine]
    async with serving_fake(Fake(engine, answering=answering)) as fake:
        assert (await fake.hear(clip)).model == answering


ASKED: dict[SpeechEngine, dict[str, list[str]]] = {
    "deepgram": {
        "model": ["nova-3"], "punctuate": ["true"], "smart_format": ["true"], "utterances": ["true"],
        "diarize_model": ["latest"], "detect_language": ["true"], "mip_opt_out": ["true"],
    },
    "assemblyai": {
        "punctuate": ["true"], "format_text": ["true"], "speaker_labels": ["true"],
        "language_detection": ["true"], "speech_models": ['["assemblyai-stt-3-7", "universal-2"]'],
    },
    "elevenlabs": {
        "model_id": ["scribe_v2"], "timestamps_granularity": ["word"], "tag_audio_events": ["false"],
        "diarize": ["true"],
    },
    "openai": {
        "model": ["whisper-1"], "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["word", "segment"],
    },
}  # fmt: skip


async def test_nothing_more_is_asked_than_was_wished(fake: Fake, clip: Clip) -> None:
    await fake.hear(clip)
    assert {name: each for name, each in fake.fields.items() if name not in ("file", "audio_url")} == ASKED[
        fake.engine
    ]


@pytest.mark.parametrize(
    ("engine", "languages", "expected"),
    [
        ("deepgram", ("de-ch", "spa", "nb"), {"detect_language": ["de-CH", "es", "no"]}),
        # Those that it cannot detect are left out; if none is left, it detects all that it can.
        ("deepgram", ("de-AT", "yue"), {"detect_language": ["de"]}),
        ("deepgram", ("yue", "am"), {"detect_language": ["true"]}),
        (
            "assemblyai",
            ("de-CH", "en-GB", "jv"),
            {
                "language_detection": ["true"],
                "language_detection_options": ['{"expected_languages": ["de", "en_uk", "jw"]}'],
            },
        ),
        ("elevenlabs", ("de", "es"), {}),
        ("openai", ("de", "es"), {}),
    ],
)
async def test_a_service_that_can_chooses_among_the_languages(
    clip: Clip, engine: SpeechEngine, languages: tuple[str, ...], expected: dict[str, list[str]]
) -> None:
    async with serving_fake(Fake(engine)) as fake:
        await fake.hear(clip, Wish(languages=languages))
        sent = {name: each for name, each in fake.fields.items() if "lang" in name}
        assert sent == expected


@pytest.mark.parametrize(
    ("engine", "language", "field", "value"),
    [
        ("deepgram", "de-CH", "language", "de-CH"),
        ("deepgram", "deu-ch", "language", "de-CH"),
        ("deepgram", "eng", "language", "en"),
        ("deepgram", "nob", "language", "no"),
        ("deepgram", "nb", "language", "no"),
        ("deepgram", "mul", "language", "multi"),
        ("assemblyai", "jv", "language_code", '"jw"'),
        ("assemblyai", "jav", "language_code", '"jw"'),
        ("assemblyai", "fil", "language_code", '"tl"'),
        ("assemblyai", "deu", "language_code", '"de"'),
        ("assemblyai", "en-GB", "language_code", '"en_uk"'),
        ("assemblyai", "en-US", "language_code", '"en_us"'),
        ("assemblyai", "pt-BR", "language_code", '"pt"'),
        ("elevenlabs", "deu", "language_code", "de"),
        ("elevenlabs", "haw", "language_code", "haw"),
        ("openai", "en-US", "language", "en"),
        ("openai", "deu", "language", "de"),
    ],
)
async def test_a_language_is_asked_for_as_each_calls_it(
    clip: Clip, engine: SpeechEngine, language: str, field: str, value: str
) -> None:
    async with serving_fake(Fake(engine)) as fake:
        heard = await fake.hear(clip, Wish(language=language))
    assert fake.fields[field] == [value]
    assert fake.complaints == []
    # The answers tell of English; Deepgram's of a language only when it was not told one.
    told = engine == "deepgram" and language != "mul"
    assert heard.language == (language if told or language.startswith("en") else "en")


async def test_speakers_are_told_only_when_asked_for(fake: Fake, clip: Clip) -> None:
    heard = await fake.hear(clip, Wish(diarization=False, num_speakers=2))
    assert {each.speaker for each in heard.segments} == {msgspec.UNSET}
    for name in ("speakers_expected", "num_speakers", "diarize_model"):
        assert name not in fake.fields
    for name in ("diarize", "speaker_labels"):
        assert fake.fields.get(name, ["false"]) == ["false"]


async def test_deepgram_may_train_only_where_the_operator_allows_it(clip: Clip) -> None:
    async with serving_fake(Fake("deepgram")) as fake:
        await fake.hear(clip, choice=fake.choice(allow_training=True))
        assert "mip_opt_out" not in fake.fields
    assert fake.complaints == []


@pytest.mark.parametrize("engine", ["assemblyai", "elevenlabs"])
async def test_a_copy_is_remembered_before_it_is_waited_for(clip: Clip, engine: SpeechEngine) -> None:
    """Also of a transcript that fails: what a worker does not know of cannot be deleted."""
    async with serving_fake(Fake(engine)) as fake:
        await fake.hear(clip)
        assert fake.remembered == fake.kept != []
        fake.answer = {"id": "t-2", "status": "error", "error": "Decoding failed."}
        if engine == "assemblyai":
            with pytest.raises(SpeechError):
                await fake.hear(clip)
            assert fake.remembered == fake.kept == ["t-1", "t-2"]


@pytest.mark.parametrize("copy", ["../../x", "", "a b", "x" * 101, "x\n"])
async def test_an_id_that_would_lead_elsewhere_is_not_remembered(clip: Clip, copy: str) -> None:
    """The log says that a copy stays there."""
    answer = ELEVENLABS | {"transcription_id": copy}
    with structlog.testing.capture_logs() as logs:
        async with serving_fake(Fake("elevenlabs", answer=answer)) as fake:
            assert len((await fake.hear(clip)).segments) == 2
    assert fake.remembered == []
    assert [each["id"] for each in logs if each["event"] == "speech.copy_not_deletable"] == [copy[:100]]


async def test_a_transcript_that_was_deleted_there_is_no_transcript(clip: Clip) -> None:
    gone = {"id": "t-1", "status": "completed", "text": "Deleted by user.", "words": None}
    async with serving_fake(Fake("assemblyai", answer=gone)) as fake:
        with pytest.raises(TryAgain, match="was deleted there"):
            await fake.hear(clip)


async def test_warnings_of_a_service_are_logged(clip: Clip) -> None:
    told = {"warnings": [{"message": f"prompt was ignored {number}"} for number in range(9)]}
    with structlog.testing.capture_logs() as logs:
        async with serving_fake(Fake("assemblyai", answer=ASSEMBLYAI | {"metadata": told})) as fake:
            await fake.hear(clip)
    said = [each["said"] for each in logs if each["event"] == "speech.provider_warns"]
    assert said == [f"prompt was ignored {number}" for number in range(5)]


@pytest.mark.parametrize(
    ("engine", "field"), [("assemblyai", "speakers_expected"), ("elevenlabs", "num_speakers")]
)
async def test_the_number_of_speakers_is_passed_on(clip: Clip, engine: SpeechEngine, field: str) -> None:
    async with serving_fake(Fake(engine)) as fake:
        await fake.hear(clip, Wish(num_speakers=32))
    assert fake.fields[field] == ["32"]
    assert fake.complaints == []


EMPTY: dict[SpeechEngine, list[Any]] = {
    "deepgram": [
        {"results": {"channels": []}},
        {"results": {"channels": [{"alternatives": []}], "utterances": []}},
        {"results": {"channels": [{"alternatives": [{"transcript": "", "confidence": 0, "words": []}]}]}},
    ],
    "assemblyai": [
        {"id": "t-1", "status": "completed", "text": None, "words": None, "utterances": None},
        {"id": "t-1", "status": "completed", "text": "", "words": [], "utterances": []},
        {
            "id": "t-1", "status": "error",
            "error": "language_detection cannot be performed on files with no spoken audio.",
        },
    ],
    "elevenlabs": [
        {"language_code": "eng", "language_probability": 1.0, "text": "", "words": []},
        {"text": " ", "words": [{"text": "(music)", "type": "audio_event", "start": 0, "end": 3}]},
    ],
    "openai": [{"text": ""}, {"text": "", "segments": [], "words": [], "language": "english"}],
}  # fmt: skip


async def test_silence_is_no_failure(fake: Fake, clip: Clip) -> None:
    for answer in EMPTY[fake.engine]:
        fake.answer, fake.polls = answer, 0
        heard = await fake.hear(clip)
        assert (heard.segments, heard.speech, heard.language) == ([], [], None)


BARE: dict[SpeechEngine, Any] = {
    "deepgram": DEEPGRAM | {"results": {"channels": DEEPGRAM["results"]["channels"]}},
    "assemblyai": ASSEMBLYAI | {"utterances": None},
    "elevenlabs": {"text": ELEVENLABS["text"], "words": ELEVENLABS["words"]},
    "openai": {"text": OPENAI["text"], "words": OPENAI["words"]},
}  # fmt: skip


async def test_words_alone_become_segments(fake: Fake, clip: Clip) -> None:
    fake.answer = BARE[fake.engine]
    heard = await fake.hear(clip)
    if fake.engine == "openai":  # its words have no punctuation, and nobody says whose they are
        assert [each.text for each in heard.segments] == ["Good morning Hello there"]
    else:
        assert [each.text for each in heard.segments] == ["Good morning.", "Hello there!"]
        assert [each.speaker for each in heard.segments] == ["SPEAKER_0", "SPEAKER_1"]


TEXT: dict[SpeechEngine, Any] = {
    "deepgram": {"results": {"channels": [{"alternatives": [{"transcript": "Only text."}]}]}},
    "assemblyai": {"id": "t-1", "status": "completed", "text": "Only text."},
    "elevenlabs": {"text": "Only text."},
    "openai": {"text": "Only text.", "usage": {"type": "duration", "seconds": 4}},
}


async def test_text_alone_becomes_one_segment(fake: Fake, clip: Clip) -> None:
    fake.answer = TEXT[fake.engine]
    heard = await fake.hear(clip)
    (segment,) = heard.segments
    assert (segment.start, segment.end) == (0, clip.end_ms / 1000)
    assert (segment.text, segment.confidence, segment.words) == ("Only text.", 1.0, msgspec.UNSET)


async def test_what_is_no_text_is_cleaned(fake: Fake, clip: Clip) -> None:
    fake.answer = {
        "deepgram": {
            "results": {"channels": [{"alternatives": [{"transcript": "A\x00\x1b[31m\n b\u202e"}]}]}
        },
        "assemblyai": {"id": "t-1", "status": "completed", "text": "A\x00\x1b[31m\n b\u202e"},
    }.get(fake.engine, {"text": "A\x00\x1b[31m\n b\u202e"})
    assert [each.text for each in (await fake.hear(clip)).segments] == ["A[31m b"]


async def test_a_piece_is_sent_alone_and_its_times_are_the_recordings(clip: Clip) -> None:
    async with serving_fake(Fake("openai")) as fake:
        heard = await fake.hear(moved(clip, 1_000, 4_000))
    assert fake.seconds == pytest.approx(3.0)
    assert fake.fields["file"] == ["piece-1000-4000.flac", "audio/flac"]
    assert [(each.start, each.end) for each in heard.segments] == [(1.5, 2.3), (3.0, 3.9)]
    assert not list(clip.pcm.parent.glob("piece-*"))  # gone again


async def test_a_moment_is_not_sent(clip: Clip) -> None:
    async with serving_fake(Fake("openai")) as fake:
        assert (await fake.hear(moved(clip, 1_000, 1_099))).segments == []
    assert fake.calls == []


async def test_words_within_segments_are_taken_as_they_are(clip: Clip) -> None:
    """As speaches answers: no list of all words, a probability for each."""
    words = [
        {"start": 0.5, "end": 0.8, "word": " Good", "probability": 0.5},
        {"start": 0.8, "end": 1.3, "word": " morning.", "probability": 0.75},
    ]
    segment = OPENAI["segments"][0] | {"words": words, "avg_logprob": -0.1}
    async with serving_fake(
        Fake("openai", answer={"text": "x", "segments": [segment], "words": None})
    ) as fake:
        (found,) = (await fake.hear(clip)).segments
    assert found.words == [
        Word(start=0.5, end=0.8, word="Good", confidence=0.5),
        Word(start=0.8, end=1.3, word="morning.", confidence=0.75),
    ]
    assert found.confidence == pytest.approx(0.9048, abs=1e-4)


async def test_languages_without_spaces_get_none(clip: Clip) -> None:
    tokens = [
        {"text": text, "start": index / 2, "end": index / 2 + 0.4, "type": "word", "speaker_id": "speaker_0"}
        for index, text in enumerate("おはよう")
    ]
    answer = {"language_code": "jpn", "text": "おはよう", "words": tokens}
    async with serving_fake(Fake("elevenlabs", answer=answer)) as fake:
        heard = await fake.hear(clip)
    assert [each.text for each in heard.segments] == ["おはよう"]
    assert heard.language == "ja"


async def test_a_service_without_keys_is_sent_none(clip: Clip) -> None:
    async with serving_fake(Fake("openai", key=None)) as fake:
        await fake.hear(clip)
    assert fake.complaints == []


@pytest.mark.parametrize(
    ("content_type", "sent", "name"),
    [("audio/x-m4a", "audio/mp4", "recording.m4a"), ("audio/opus", "audio/ogg", "recording.ogg")],
)
async def test_a_file_is_called_what_it_is(clip: Clip, content_type: str, sent: str, name: str) -> None:
    async with serving_fake(Fake("elevenlabs")) as fake:
        await fake.hear(msgspec.structs.replace(clip, content_type=content_type))
    assert fake.fields["file"] == [name, sent]


async def test_a_file_that_is_away_is_our_own_fault(clip: Clip, tmp_path: Path) -> None:
    async with serving_fake(Fake("deepgram")) as fake:
        with pytest.raises(FileNotFoundError):
            await fake.hear(msgspec.structs.replace(clip, file=tmp_path / "none"))
