"""Deepgram's pre-recorded API. Source: deepgram/deepgram-api-specs of July 2026, changelog up to October."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from tests.support.speech_answers import DEEPGRAM
from tests.support.speech_services import codes
from tests.support.speech_services.service import Refuse, Service, body

_NOVA_2_NAMED = """
general meeting finance conversationalai voicemail video medical drivethru automotive
"""
_NOVA_2 = _NOVA_2_NAMED.split()
_MODELS = re.compile(
    rf"nova-3(-general|-medical)?|nova-2(-({'|'.join(_NOVA_2)}))?|nova|enhanced|base|whisper(-\w+)?"
)
_PARAMETERS_NAMED = """
model language detect_language language_hint diarize diarize_model punctuate smart_format paragraphs
utterances utt_split multichannel filler_words profanity_filter numerals redact keyterm keywords search
replace tag extra version callback callback_method mip_opt_out
"""
_PARAMETERS = frozenset(_PARAMETERS_NAMED.split())
_SWITCHES = ("punctuate", "smart_format", "utterances", "mip_opt_out", "paragraphs", "multichannel")
_REGION = re.compile(r"[a-z]{2}(-([A-Z]{2}|[0-9]{3}|[A-Z][a-z]{3}))?")


async def answer(service: Service, request: web.Request) -> web.Response:
    """POST /v1/listen."""
    if request.path != "/v1/listen":
        raise _refuse(404, "NOT_FOUND", f"there is no {request.path}")
    if request.method != "POST":
        raise _refuse(405, "METHOD_NOT_ALLOWED", f"{request.path} takes no {request.method}")
    if service.key is not None and request.headers.get("Authorization") != f"Token {service.key}":
        raise _refuse(401, "INVALID_AUTH", "the Authorization is not `Token KEY`")
    service.check(service.key is not None or "Authorization" not in request.headers, "a key is sent")
    query = service.fields = {name: request.query.getall(name) for name in request.query}
    _check(service, query)
    await body(service, request)
    return web.json_response(service.answer or _made(service, query))


def _check(service: Service, query: dict[str, list[str]]) -> None:
    for name in query.keys() - _PARAMETERS:
        service.complaints.append(f"there is no parameter {name}")
    service.check("diarize" not in query, "diarize is deprecated: diarize_model switches it on")
    for name in _SWITCHES:
        if query.get(name, ["true"]) not in (["true"], ["false"]):
            raise _refuse(400, "Bad Request", f"{name} is true or false")
    if query.get("diarize_model", ["latest"])[0] not in ("latest", "v1", "v2"):
        raise _refuse(400, "Bad Request", "there is no such diarize_model")
    model = query.get("model", ["base-general"])[0]
    if not _MODELS.fullmatch(model):
        raise _refuse(400, "Bad Request", "No such model/language/tier combination found.")
    asked = query.get("language", ["en"])[0]
    if asked == "multi":
        if not model.startswith(("nova-3", "nova-2")):
            raise _refuse(400, "Bad Request", "No such model/language/tier combination found.")
    elif not _REGION.fullmatch(asked) or asked[:2] not in codes.DEEPGRAM:
        raise _refuse(400, "Bad Request", "No such model/language/tier combination found.")
    detected = query.get("detect_language", ["true"])
    if detected != ["true"] and not set(detected) <= codes.DEEPGRAM:
        raise _refuse(400, "Bad Request", "detect_language is true, or languages that can be detected")
    service.check(not {"language", "detect_language"} <= query.keys(), "detecting overrides the language")


def _refuse(status: int, code: str, words: str) -> Refuse:
    return Refuse(status, {"err_code": code, "err_msg": words, "request_id": "r-1"}, words)


def _made(service: Service, query: dict[str, list[str]]) -> dict[str, Any]:
    """The transcript, with exactly the parts that were asked for."""
    model = query.get("model", ["base-general"])[0]
    tier = "-".join(model.split("-")[:2])
    name = service.answering or f"{model[len(tier) :].strip('-') or 'general'}-{tier}"
    told = {} if "diarize_model" in query else {"speaker": None, "speaker_confidence": None}
    usual = DEEPGRAM["results"]["channels"][0]
    channel: dict[str, Any] = {
        "alternatives": [{**best, "words": _bare(best["words"], told)} for best in usual["alternatives"]]
    }
    if "detect_language" in query:
        channel |= {key: usual[key] for key in ("detected_language", "language_confidence")}
    if query.get("language") == ["multi"]:
        channel["alternatives"][0]["languages"] = ["en", "es"]
    results: dict[str, Any] = {"channels": [channel]}
    if query.get("utterances") == ["true"]:
        utterances = _bare(DEEPGRAM["results"]["utterances"], told)
        results["utterances"] = [{**each, "words": _bare(each["words"], told)} for each in utterances]
    info = {"m1": {"name": name, "version": "2025-04-17", "arch": tier}}
    return {"metadata": DEEPGRAM["metadata"] | {"models": ["m1"], "model_info": info}, "results": results}


def _bare(items: list[dict[str, Any]], without: dict[str, None]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name not in without} for each in items]
