"""AssemblyAI. Source: AssemblyAI/assemblyai-api-spec 1.3.4, its client 1.8.2 and changelog, November 2026."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.support.speech_answers import ASSEMBLYAI
from tests.support.speech_services import codes
from tests.support.speech_services.service import Refuse, Service, body

# No longer accepted: universal-3-pro, universal, best, nano and slam-1.
_MODELS = frozenset({"assemblyai-stt-3-7", "universal-3-5-pro", "universal-2"})
_FIELDS_NAMED = """
audio_url speech_models language_code language_detection language_detection_options
language_confidence_threshold speaker_labels speakers_expected speaker_options punctuate format_text
multichannel disfluencies filter_profanity keyterms_prompt prompt remove_audio_tags domain
audio_start_from audio_end_at speech_threshold redact_pii redact_pii_policies redact_pii_sub webhook_url
webhook_auth_header_name webhook_auth_header_value
"""
_FIELDS = frozenset(_FIELDS_NAMED.split())


async def answer(service: Service, request: web.Request) -> web.Response:
    """/v2/upload, /v2/transcript, /v2/transcript/{id}."""
    if service.key is not None and request.headers.get("Authorization") != service.key:
        raise _refuse(401, "Authentication error, API token missing/invalid")
    service.check(service.key is not None or "Authorization" not in request.headers, "a key is sent")
    name = request.path.removeprefix("/v2/transcript/")
    match (request.method, request.path):
        case ("POST", "/v2/upload"):
            if request.headers.get("Content-Type") != "application/octet-stream":
                raise _refuse(400, "Upload takes application/octet-stream.")
            await body(service, request)
            return web.json_response({"upload_url": f"{service.url}/upload/f1"})
        case ("POST", "/v2/transcript"):
            return await _order(service, request)
        case ("GET", _) if name in service.kept or name in service.deleted:
            return web.json_response(_state(service, name))
        case ("DELETE", _) if name in service.kept or name in service.deleted:
            service.delete(name)
            return web.json_response(_gone(name))
        case (_, "/v2/upload" | "/v2/transcript"):
            raise _refuse(405, f"Method Not Allowed: {request.method} {request.path}")
        case _:
            raise _refuse(404, f"Not found: {request.method} {request.path}")


async def _order(service: Service, request: web.Request) -> web.Response:
    if request.content_type != "application/json":
        raise _refuse(400, "The body must be JSON.")
    order: dict[str, Any] = await request.json()
    service.fields = {name: [json.dumps(value)] for name, value in order.items()}
    for name in order.keys() - _FIELDS:
        raise _refuse(400, f"Invalid endpoint schema: unknown field {name}.")
    if order.get("audio_url") != f"{service.url}/upload/f1":
        raise _refuse(403, "Cannot access uploaded file: it belongs to another project.")
    models = order.get("speech_models")
    if models is None:
        service.complaints.append("without speech_models the account's age decides")
    elif not models or not set(models) <= _MODELS:
        raise _refuse(400, f"speech_models must be among {sorted(_MODELS)}.")
    if "language_code" in order and order.get("language_detection"):
        raise _refuse(400, "language_code and language_detection exclude each other.")
    expected = order.get("language_detection_options", {}).get("expected_languages", [])
    if not set(expected) <= set(codes.ASSEMBLYAI):
        raise _refuse(400, f"expected_languages: {expected} are not all supported.")
    if "language_detection_options" in order and not order.get("language_detection"):
        raise _refuse(400, "language_detection_options needs language_detection.")
    if order.get("language_code", "en_us") not in codes.ASSEMBLYAI:
        raise _refuse(400, f"The language {order['language_code']} is not supported.")
    if {"speakers_expected", "speaker_options"} <= order.keys():
        raise _refuse(400, "speakers_expected and speaker_options exclude each other.")
    if "speakers_expected" in order and order.get("speaker_labels") is not True:
        raise _refuse(400, "speakers_expected needs speaker_labels.")
    name = service.next_id("t")
    return web.json_response({"id": name, "status": "queued", "text": None, "words": None})


def _state(service: Service, name: str) -> Any:
    if name in service.deleted:
        return _gone(name)
    service.polls -= 1
    if service.polls >= 0:
        return {"id": name, "status": "processing", "utterances": None}
    if service.answer is not None:
        return service.answer
    models = json.loads(service.fields.get("speech_models", ['["assemblyai-stt-3-7"]'])[0])
    made = ASSEMBLYAI | {
        "id": name, "speech_models": models, "speech_model_used": service.answering or models[0],
    }  # fmt: skip
    if service.fields.get("speaker_labels") != ["true"]:
        made |= {"utterances": None, "words": [each | {"speaker": None} for each in ASSEMBLYAI["words"]]}
    return made


def _gone(name: str) -> dict[str, Any]:
    return {
        "id": name, "status": "completed", "audio_url": "http://deleted_by_user", "text": "Deleted by user.",
        "words": None, "utterances": None,
    }  # fmt: skip


def _refuse(status: int, words: str) -> Refuse:
    return Refuse(status, {"error": words}, words)
