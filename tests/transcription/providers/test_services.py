"""The services of the tests refuse what the real ones would, so that no adapter passes by their kindness."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lapel.slices.providers.choice import SpeechEngine
from lapel.slices.transcription.providers.protocol import Clip
from tests.support import speech_services
from tests.support.speech_providers import KEY, Fake, serving_fake

HEADERS: dict[SpeechEngine, dict[str, str]] = {
    "deepgram": {"Authorization": f"Token {KEY}"}, "assemblyai": {"Authorization": KEY},
    "elevenlabs": {"xi-api-key": KEY}, "openai": {"Authorization": f"Bearer {KEY}"},
}  # fmt: skip
PATHS: dict[SpeechEngine, str] = {
    "deepgram": "/v1/listen", "assemblyai": "/v2/transcript", "elevenlabs": "/v1/speech-to-text",
    "openai": "/v1/audio/transcriptions",
}  # fmt: skip
WHISPER = {"model": "whisper-1", "response_format": "verbose_json"}
DIARIZE = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json"}

# Of Deepgram its query, of AssemblyAI its JSON, of the others their form.
REFUSED: list[tuple[SpeechEngine, dict[str, Any], int]] = [
    ("deepgram", {"model": "nova-9"}, 400),
    ("deepgram", {"model": "nova-3", "language": "deu"}, 400),
    ("deepgram", {"model": "nova-3", "language": "en_US"}, 400),
    ("deepgram", {"model": "enhanced", "language": "multi"}, 400),
    ("deepgram", {"model": "nova-3", "diarize_model": "v9"}, 400),
    ("deepgram", {"model": "nova-3", "mip_opt_out": "yes"}, 400),
    ("assemblyai", {"speech_model": "best"}, 400),
    ("assemblyai", {"speech_models": ["universal"]}, 400),
    ("assemblyai", {"speech_models": []}, 400),
    ("assemblyai", {"surprise": 1}, 400),
    ("assemblyai", {"language_code": "de", "language_detection": True}, 400),
    ("assemblyai", {"language_code": "jv"}, 400),
    ("assemblyai", {"language_code": "deu"}, 400),
    ("assemblyai", {"speakers_expected": 2}, 400),
    ("assemblyai", {"audio_url": "https://other.example/upload"}, 403),
    ("elevenlabs", {"model_id": "scribe_v1"}, 400),
    ("elevenlabs", {}, 422),
    ("elevenlabs", {"model_id": "scribe_v2", "language_code": "de-CH"}, 400),
    ("elevenlabs", {"model_id": "scribe_v2", "num_speakers": "33"}, 422),
    ("openai", {"model": "whisper-9"}, 404),
    ("openai", {"model": "gpt-transcribe", "response_format": "verbose_json"}, 400),
    ("openai", {"model": "gpt-4o-transcribe", "response_format": "verbose_json"}, 400),
    ("openai", {"model": "whisper-1", "response_format": "diarized_json"}, 400),
    ("openai", {"model": "whisper-1", "timestamp_granularities[]": "word"}, 400),
    ("openai", DIARIZE, 400),
    ("openai", DIARIZE | {"chunking_strategy": "auto", "prompt": "Names"}, 400),
    ("openai", WHISPER | {"language": "en-US"}, 400),
    ("openai", WHISPER | {"language": "deu"}, 400),
    ("openai", {"model": "gpt-transcribe", "language": "de", "languages[]": "de"}, 400),
]


async def call(
    fake: Fake, clip: Clip, fields: dict[str, Any], *, method: str = "POST", **headers: str
) -> tuple[int, Any]:
    """Status and answer of a call with the right key and a real recording, unless told otherwise."""
    sent: dict[str, Any] = {"headers": HEADERS[fake.engine] | headers}
    if fake.engine == "deepgram":
        sent |= {"params": fields, "data": clip.file.read_bytes()}
    elif fake.engine == "assemblyai":
        sent |= {"json": {"audio_url": f"{fake.url}/upload/f1", **fields}}
    else:
        form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
        for name, value in fields.items():
            form.add_field(name, value)
        form.add_field("file", clip.file.read_bytes(), filename="a.ogg", content_type="audio/ogg")
        # The length is told, as real services want it.
        sent |= {"data": form}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, fake.url + PATHS[fake.engine], **sent) as response,
    ):
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(("engine", "fields", "status"), REFUSED)
async def test_what_the_service_would_not_take_is_refused(
    clip: Clip, engine: SpeechEngine, fields: dict[str, Any], status: int
) -> None:
    async with serving_fake(Fake(engine)) as fake:
        if fields == DIARIZE:  # needed above 30 s alone
            assert (await call(fake, clip, fields))[0] == 200
            fake.decode, fake.seconds = False, 31.0
        found, told = await call(fake, clip, fields)
        assert found == status
        assert fake.complaints
        assert set(told) == {
            "deepgram": {"err_code", "err_msg", "request_id"}, "assemblyai": {"error"},
            "elevenlabs": {"detail"}, "openai": {"error"},
        }[engine]  # fmt: skip


async def test_another_form_of_the_key_is_refused(fake: Fake, clip: Clip) -> None:
    forms = [KEY, f"Token {KEY}", f"Bearer {KEY}", f"Basic {KEY}"]
    for value in forms:
        name = next(iter(HEADERS[fake.engine]))
        if HEADERS[fake.engine][name] != value:
            assert (await call(fake, clip, {}, **{name: value}))[0] == 401
    assert len(fake.complaints) == 3
    fake.complaints.clear()


async def test_another_method_is_refused(fake: Fake, clip: Clip) -> None:
    assert (await call(fake, clip, {}, method="PUT"))[0] in (404, 405)
    assert len(fake.complaints) == 1
    fake.complaints.clear()


async def test_an_upload_says_that_it_is_bytes(clip: Clip) -> None:
    async with serving_fake(Fake("assemblyai")) as fake, aiohttp.ClientSession() as session:
        for kind, status in (("audio/ogg", 400), ("application/octet-stream", 200)):
            headers = HEADERS["assemblyai"] | {"Content-Type": kind}
            url = f"{fake.url}/v2/upload"
            async with session.post(url, headers=headers, data=clip.file.read_bytes()) as response:
                assert response.status == status


def test_the_services_know_nothing_of_lapel() -> None:
    files = [*Path(speech_services.__path__[0]).glob("*.py"), Path("tests/support/speech_answers.py")]
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [each.name for each in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            assert not [name for name in names if name.startswith("lapel")], file


def test_no_wire_test_takes_its_words_from_an_adapter() -> None:
    """A constant that is wrong in the adapter would be right in its test."""
    adapters = {
        f"lapel.slices.transcription.providers.{engine}" for engine in (*HEADERS, "openai_models", "regions")
    }
    for file in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in adapters:
                assert not [each.name for each in node.names if each.name.isupper()], file
            assert not (isinstance(node, ast.Import) and adapters & {each.name for each in node.names}), file
