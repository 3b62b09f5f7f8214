"""ElevenLabs' speech to text. Source: its client 2.78.0, changelog of June 2026, list of errors."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from tests.support.speech_answers import ELEVENLABS
from tests.support.speech_services.service import Refuse, Service, form

# scribe_v1 ended on 9 July 2026.
_MODELS = frozenset({"scribe_v2", "scribe_v2_medical", "scribe_v3"})
_FIELDS_NAMED = """
model_id file source_url file_format language_code diarize num_speakers diarization_threshold
detect_speaker_roles use_speaker_library timestamps_granularity tag_audio_events no_verbatim temperature
seed use_multi_channel multichannel_output_style keyterms entity_detection entity_redaction
transcript_edit webhook webhook_id webhook_metadata secondary_language_codes numbers_format
"""
_FIELDS = frozenset(_FIELDS_NAMED.split())
_PATH = "/v1/speech-to-text"
_MOST_SPEAKERS = 32


async def answer(service: Service, request: web.Request) -> web.Response:
    """POST /v1/speech-to-text; GET and DELETE of /v1/speech-to-text/transcripts/{id}."""
    if service.key is not None and request.headers.get("xi-api-key") != service.key:
        raise _refuse(401, "invalid_api_key", "Invalid API key")
    service.check(service.key is not None or "xi-api-key" not in request.headers, "a key is sent")
    service.check("Authorization" not in request.headers, "the key goes into xi-api-key")
    name = request.path.removeprefix(f"{_PATH}/transcripts/")
    if request.method == "DELETE" and service.delete(name):
        return web.json_response({"message": "Delete completed successfully."})
    if request.method == "GET" and name in service.kept:
        return web.json_response(ELEVENLABS | {"transcription_id": name})
    if request.path != _PATH:
        raise _refuse(404, "not_found", f"Not found: {request.method} {request.path}")
    if request.method != "POST":
        raise Refuse(405, {"detail": "Method Not Allowed"}, f"{_PATH} takes no {request.method}")
    await form(service, request)
    _check(service)
    if service.answer is not None:
        return web.json_response(service.answer)
    return web.json_response(_made(service))


def _check(service: Service) -> None:
    fields = service.fields
    for name in fields.keys() - _FIELDS:
        service.complaints.append(f"there is no field {name}")
    for name in ("model_id", "file"):
        if name not in fields:
            raise _invalid(name, "Field required")
    if fields["model_id"][0] not in _MODELS:
        raise _refuse(400, "invalid_model_id", f"'{fields['model_id'][0]}' is not a valid model_id.")
    if "language_code" in fields and not re.fullmatch("[a-z]{2,3}", fields["language_code"][0]):
        raise _refuse(400, "invalid_language_code", "The language code is neither ISO 639-1 nor 639-3.")
    if fields.get("timestamps_granularity", ["word"])[0] not in ("none", "word", "character"):
        raise _invalid("timestamps_granularity", "Input should be 'none', 'word' or 'character'")
    if "num_speakers" in fields and not 1 <= int(fields["num_speakers"][0]) <= _MOST_SPEAKERS:
        raise _invalid("num_speakers", f"Input should be less than or equal to {_MOST_SPEAKERS}")
    if {"num_speakers", "diarization_threshold"} <= fields.keys():
        raise _refuse(400, "invalid_parameters", "diarization_threshold needs num_speakers to be left out.")


def _made(service: Service) -> dict[str, Any]:
    fields = service.fields
    words: list[dict[str, Any]] = ELEVENLABS["words"]
    if fields.get("tag_audio_events") == ["false"]:
        words = [each for each in words if each["type"] != "audio_event"]
    if fields.get("diarize") != ["true"]:
        words = [{name: each[name] for name in each if name != "speaker_id"} for each in words]
    return ELEVENLABS | {"words": words, "transcription_id": service.next_id("x")}


def _refuse(status: int, code: str, words: str) -> Refuse:
    kind = "authentication_error" if status == 401 else "invalid_request"
    detail = {
        "type": kind,
        "code": code,
        "message": words,
        "status": code,
        "request_id": "r-1",
        "param": None,
    }
    return Refuse(status, {"detail": detail}, words)


def _invalid(name: str, words: str) -> Refuse:
    detail = [{"loc": ["body", name], "msg": words, "type": "value_error"}]
    return Refuse(422, {"detail": detail}, f"{name}: {words}")
