"""OpenAI's transcriptions, and services that follow them. Source: openai/openai-openapi of August 2026, the
client 3.57.0, "Deprecations", and what users measured of gpt-transcribe."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from tests.support.speech_answers import OPENAI
from tests.support.speech_services import codes
from tests.support.speech_services.service import Refuse, Service, form

_GPT_4O = re.compile(r"gpt-4o(-mini)?-transcribe(-\d{4}-\d{2}-\d{2})?")
_DIARIZE = "gpt-4o-transcribe-diarize"
_LASTING = "gpt-transcribe"
_FIELDS_NAMED = """
file model language languages[] response_format temperature prompt keywords[] include[]
timestamp_granularities[] stream chunking_strategy known_speaker_names[] known_speaker_references[]
"""
_FIELDS = frozenset(_FIELDS_NAMED.split())
_ENDINGS_NAMED = """
flac mp3 mp4 mpeg mpga m4a ogg wav webm
"""
_ENDINGS = _ENDINGS_NAMED.split()
_MOST_BYTES = 25 * 1024 * 1024


async def answer(service: Service, request: web.Request) -> web.Response:
    """POST /v1/audio/transcriptions, GET /v1/models/{id}."""
    if service.key is not None and request.headers.get("Authorization") != f"Bearer {service.key}":
        raise _refuse(401, "invalid_api_key", None, "Incorrect API key provided.")
    service.check(service.key is not None or "Authorization" not in request.headers, "a key is sent")
    if request.method == "GET" and request.path.startswith("/v1/models/"):
        told = {"shutdown_date": service.shutdown_date} if service.shutdown_date else {}
        name = request.path.removeprefix("/v1/models/")
        return web.json_response({"id": name, "object": "model", "created": 1677532384, **told})
    if request.path != "/v1/audio/transcriptions":
        raise _refuse(404, "not_found", None, f"Invalid URL ({request.method} {request.path})")
    if request.method != "POST":
        raise _refuse(405, "method_not_allowed", None, f"Not allowed: {request.method}")
    await form(service, request)
    for name in service.fields.keys() - _FIELDS:  # the service ignores them silently
        service.complaints.append(f"there is no field {name}")
    if service.received > _MOST_BYTES:
        raise _refuse(413, "file_too_large", "file", "Maximum content size limit (26214400) exceeded.")
    if service.fields.get("file", [""])[0].rpartition(".")[2] not in _ENDINGS:
        raise _refuse(400, "unsupported_format", "file", f"Supported formats: {_ENDINGS}.")
    kind = _kind(service)
    _check_format(service, kind)
    unknown = _check_language(service, kind)
    if unknown is not None:
        return web.json_response(unknown.body, status=unknown.status)
    return web.json_response(service.answer or _made(service, kind))


def _kind(service: Service) -> str:
    model = service.fields.get("model", [""])[0]
    if model in (_DIARIZE, _LASTING, "whisper-1"):
        return {"whisper-1": "whisper"}.get(model, model)
    if _GPT_4O.fullmatch(model):
        return "gpt-4o"
    if service.any_model and model:
        return "whisper"
    raise _refuse(404, "model_not_found", "model", f"The model `{model}` does not exist.")


def _check_format(service: Service, kind: str) -> None:
    fields = service.fields
    wanted = fields.get("response_format", ["json"])[0]
    taken = {
        "whisper": ("json", "text", "srt", "vtt", "verbose_json"), "gpt-4o": ("json", "text"),
        _LASTING: ("json", "text"), _DIARIZE: ("json", "text", "diarized_json"),
    }[kind]  # fmt: skip
    if wanted not in taken:
        words = f"response_format '{wanted}' is not compatible with model '{fields['model'][0]}'."
        raise _refuse(400, "unsupported_value", "response_format", words)
    if "timestamp_granularities[]" in fields and wanted != "verbose_json":
        raise _refuse(400, "unsupported_value", "timestamp_granularities", "They need verbose_json.")
    if kind == _DIARIZE and service.seconds > 30 and "chunking_strategy" not in fields:
        words = "chunking_strategy is required for audio longer than 30 seconds."
        raise _refuse(400, "missing_required_parameter", "chunking_strategy", words)
    if kind == _DIARIZE and "prompt" in fields:
        raise _refuse(400, "unsupported_value", "prompt", "Prompts are not taken by diarization models.")
    if kind != _DIARIZE and any(name.startswith("known_speaker") for name in fields):
        raise _refuse(400, "unsupported_value", "known_speaker_names", "Known speakers need diarization.")
    if kind in ("gpt-4o", _DIARIZE) and service.seconds > 1400:
        words = f"audio duration {service.seconds} seconds is longer than 1400 seconds"
        raise _refuse(400, "invalid_value", "file", words)


def _check_language(service: Service, kind: str) -> Refuse | None:
    """The refusal of a language that the model does not know, which is not the caller's fault; else None."""
    fields = service.fields
    if {"language", "languages[]"} <= fields.keys():
        raise _refuse(400, "invalid_request", "languages", "language and languages exclude each other.")
    if kind == _LASTING:
        service.check("language" not in fields, "gpt-transcribe ignores language")
    else:
        service.check("languages[]" not in fields, "only gpt-transcribe reads languages[]")
    for code in [*fields.get("language", []), *fields.get("languages[]", [])]:
        if code not in codes.ISO_639_1:
            raise _refuse(400, "invalid_language_format", "language", f"'{code}' is not ISO 639-1.")
        if code in service.unknown_languages:
            return _refuse(400, "unsupported_value", "languages", f"Unsupported language code '{code}'.")
    return None


def _made(service: Service, kind: str) -> dict[str, Any]:
    text, usage = OPENAI["text"], {"type": "duration", "seconds": 4}
    if kind == _LASTING:
        return {"text": text, "languages": [{"code": "en"}], "usage": usage}
    if service.fields.get("response_format", ["json"]) == ["json"]:
        return {"text": text, "usage": usage}
    if kind == _DIARIZE:
        segments = [
            {
                "type": "transcript.text.segment", "id": f"seg_{index}", "start": each["start"],
                "end": each["end"], "text": each["text"], "speaker": "BA"[index],
            }
            for index, each in enumerate(OPENAI["segments"])
        ]  # fmt: skip
        return {"task": "transcribe", "duration": 2.95, "text": text, "segments": segments, "usage": usage}
    granularities = service.fields.get("timestamp_granularities[]", ["segment"])
    left_out = {name for name in ("word", "segment") if name not in granularities}
    return {name: value for name, value in OPENAI.items() if name.rstrip("s") not in left_out}


def _refuse(status: int, code: str, param: str | None, words: str) -> Refuse:
    error = {"message": words, "type": "invalid_request_error", "param": param, "code": code}
    return Refuse(status, {"error": error}, words)
