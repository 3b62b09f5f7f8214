"""One file without a server: real decoding, and who is asked for words and voices is scripted here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import pytest

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Describe, Group, Groups, Heard, Voices
from lapel.slices.transcription.speech.transcript import Segment, Word
from lapel.slices.transcription.work.offline import Outcome, Status, transcribe
from lapel.slices.transcription.work.progress import STAGES, overall
from tests.support.conversations import Conversation

CONVERSATION = Conversation("three-speakers")
FILE = CONVERSATION.path
TEXT = "Yes of course. No, never mind."


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


class Cutting(Decoder):
    """Cuts after ten and twenty seconds; ours is long enough to be left whole."""

    async def decode(
        self, file: Path, *, declared: str, pcm: Path | None = None, owner: int = 0
    ) -> AudioFacts:
        facts = await super().decode(file, declared=declared, pcm=pcm, owner=owner)
        ends = [10_000, 20_000, facts.duration_ms]
        return msgspec.structs.replace(facts, pieces=list(zip([0, *ends], ends, strict=False)))


class Scripted:
    """Hears two people say three words each in every piece."""

    def __init__(self, *, piecewise: bool = True, tells_speakers: bool = False, speech: float = 30.0) -> None:
        self.piecewise = piecewise
        self.reads_samples = True
        self.tells_speakers = tells_speakers
        self.tells_languages = False
        self.speech = speech
        self.asked: list[tuple[Clip, Wish]] = []
        self.grouped: list[Group] = []
        self.samples = 0

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        self.asked.append((clip, wish))
        self.samples = (await asyncio.to_thread(clip.pcm.stat)).st_size // 2
        report(0.5)
        report(1)
        start = clip.start_ms / 1000
        words = [
            Word(start=start + at, end=start + at + 0.4, word=word, confidence=1)
            for at, word in enumerate(TEXT.split())
        ]
        said = Segment(start=start, end=start + 6, text=TEXT, confidence=1, words=words)
        return Heard(
            segments=[said] if self.speech else [],
            speech=[(start, start + self.speech)] if self.speech else [],
            language=(wish.language or "en") if self.speech else None,
            language_probability=0.9 if self.speech else None,
            model="scripted",
        )

    async def describe(self, request: Describe) -> Voices:
        start = request.speech[0][0]
        windows = [(start, start + 3.0), (start + 3.0, start + 6.0)]
        return Voices(windows=windows, embeddings=bytes(len(windows) * 192 * 2))

    async def group(self, request: Group) -> Groups:
        self.grouped.append(request)
        windows = [window for voices in request.voices for window in voices.windows]
        return Groups(windows=windows, labels=[index % 2 for index in range(len(windows))])


@pytest.fixture(scope="module")
async def decoder() -> AsyncGenerator[Decoder]:
    """Cuts what it decodes."""
    made = Cutting(children=1)
    yield made
    await made.aclose()


async def run(
    scripted: Scripted, decoder: Decoder, folder: Path, wish: Wish | None = None
) -> tuple[Outcome, list[Status]]:
    told: list[Status] = []
    outcome = await transcribe(
        FILE,
        wish or Wish(),
        decoder=decoder,
        transcriber=scripted,
        engine=scripted,
        folder=folder,
        report=told.append,
    )
    assert is_empty(folder)
    progress = [each.progress for each in told]
    assert progress == sorted(progress)
    assert (told[0].progress, told[-1].progress, told[-1].stage) == (0, 1, "finish")
    assert told[-1].duration_ms == outcome.facts.duration_ms
    return outcome, told


async def test_pieces_become_one_transcript_with_speakers(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Scripted()
    outcome, told = await run(scripted, decoder, tmp_path, Wish(num_speakers=2))
    made = outcome.transcript
    assert [(each.speaker, each.text) for each in made.segments] == [
        ("SPEAKER_0", "Yes of course."),
        ("SPEAKER_1", "No, never mind."),
    ] * 3
    assert [int(each.start) for each in made.segments] == [0, 3, 10, 13, 20, 23]
    assert (made.language, made.model, made.duration_ms) == ("en", "scripted", outcome.facts.duration_ms)
    assert abs(made.duration_ms - CONVERSATION.duration_ms) < 100
    assert scripted.samples == pytest.approx(made.duration_ms * 16, abs=16)
    assert [group.num_speakers for group in scripted.grouped] == [2]
    assert list(dict.fromkeys(each.stage for each in told)) == list(STAGES)
    assert outcome.transcript.warnings == []


async def test_progress_of_the_speakers_is_the_share_of_the_audio(decoder: Decoder, tmp_path: Path) -> None:
    outcome, told = await run(Scripted(), decoder, tmp_path)
    shares = [start / outcome.facts.duration_ms for start in (0, 10_000, 20_000)]
    assert shares[2] != pytest.approx(2 / 3, abs=0.01)
    assert [each.progress for each in told if each.stage == "diarize"] == [
        overall("diarize", share) for share in shares
    ]


async def test_a_language_that_is_clear_is_not_detected_again(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Scripted()
    await run(scripted, decoder, tmp_path)
    assert [wish.language for _, wish in scripted.asked] == [None, "en", "en"]
    scripted = Scripted(speech=1.0)
    await run(scripted, decoder, tmp_path)
    assert [wish.language for _, wish in scripted.asked] == [None] * 3
    scripted = Scripted()
    await run(scripted, decoder, tmp_path, Wish(language="de"))
    assert [wish.language for _, wish in scripted.asked] == ["de"] * 3


async def test_speakers_are_looked_for_only_when_somebody_wants_them(
    decoder: Decoder, tmp_path: Path
) -> None:
    scripted = Scripted()
    outcome, _ = await run(scripted, decoder, tmp_path, Wish(diarization=False))
    assert [each.text for each in outcome.transcript.segments] == [TEXT] * 3
    assert all(each.speaker is msgspec.UNSET for each in outcome.transcript.segments)
    assert scripted.grouped == []
    scripted = Scripted(tells_speakers=True)
    await run(scripted, decoder, tmp_path)
    assert scripted.grouped == []


async def test_who_takes_a_recording_as_a_whole_is_asked_once(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Scripted(piecewise=False)
    outcome, _ = await run(scripted, decoder, tmp_path)
    ((clip, _),) = scripted.asked
    assert (clip.start_ms, clip.end_ms) == (0, outcome.facts.duration_ms)
    assert (clip.file, clip.content_type) == (FILE, outcome.facts.mime_type)


async def test_where_nobody_speaks_there_are_no_speakers(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Scripted(speech=0.0)
    outcome, _ = await run(scripted, decoder, tmp_path)
    assert (outcome.transcript.segments, outcome.transcript.language) == ([], None)
    assert scripted.grouped == []


class WithoutWeights(Scripted):
    """Cannot tell voices apart."""

    async def describe(self, request: Describe) -> Voices:  # noqa: ARG002 - as in the protocol
        raise SpeechError("processing_error", "No weights.")


async def test_without_the_weights_the_speakers_are_left_out_and_that_is_said(
    decoder: Decoder, tmp_path: Path
) -> None:
    outcome, _ = await run(WithoutWeights(), decoder, tmp_path)
    assert outcome.transcript.warnings == [
        TimedWarning(code="speakers_left_out", message="The speakers are left out. No weights.")
    ]
    assert [each.text for each in outcome.transcript.segments] == [TEXT] * 3


class WithoutSecondPiece(Scripted):
    """Cannot embed the voices of the second piece."""

    async def describe(self, request: Describe) -> Voices:
        if request.speech[0][0] == 10:
            raise SpeechError("processing_error", "Not this piece.")
        return await super().describe(request)


async def test_a_piece_whose_voices_cannot_be_embedded_costs_no_other_piece_its_voices(
    decoder: Decoder, tmp_path: Path
) -> None:
    """As on the server."""
    scripted = WithoutSecondPiece()
    outcome, _ = await run(scripted, decoder, tmp_path)
    (warning,) = outcome.transcript.warnings
    assert warning.message == "The speakers of some parts are left out. Not this piece."
    assert [[len(each.windows) for each in group.voices] for group in scripted.grouped] == [[2, 0, 2]]


class Untimed(Scripted):
    """Knows what is said, and not when."""

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        heard = await super().transcribe(clip, wish, report)
        return msgspec.structs.replace(heard, timed=False)


async def test_a_text_without_times_has_no_speakers(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Untimed()
    outcome, _ = await run(scripted, decoder, tmp_path)
    assert scripted.grouped == []
    assert [each.text for each in outcome.transcript.segments] == [TEXT] * 3


async def test_a_file_that_is_no_audio_leaves_nothing(decoder: Decoder, tmp_path: Path) -> None:
    scripted = Scripted()
    with pytest.raises(SpeechError) as refused:
        await transcribe(
            Path(__file__),
            Wish(),
            decoder=decoder,
            transcriber=scripted,
            engine=scripted,
            folder=tmp_path,
            report=lambda _: None,
        )
    assert refused.value.code == "unsupported_format"
    assert is_empty(tmp_path)
