"""The strict reader passes what the contract allows, and refuses each kind of fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.contract.strict_samples import (
    ASSIGNED,
    AT,
    COMMAND,
    CONFIG,
    DELIVERY,
    DEVICE,
    LINK,
    MEDIA,
    RECORDING,
    RELEASE,
    SEGMENT,
    SESSION,
    STAGING,
    SUMMARY,
    TRANSCRIPTION,
    USER,
    WEBHOOK,
    WORD,
    an_id,
    with_change,
)
from tests.support.strict.events import event_faults
from tests.support.strict.reader import faults_of

Json = dict[str, Any]
SESSIONS = f"/v1/recordings/{an_id('rec')}/encrypted-upload-v2/sessions"
PLACES: dict[str, tuple[str, Json]] = {
    "user": (f"/v1/end-users/{an_id('eu')}", USER),
    "device": (f"/v1/devices/{an_id('dev')}", DEVICE),
    "recording": (f"/v1/recordings/{an_id('rec')}", RECORDING),
    "transcription": (f"/v1/transcriptions/{an_id('txn')}", TRANSCRIPTION),
    "summary": (f"/v1/summaries/{an_id('sum')}", SUMMARY),
    "config": ("/v1/config/ota", CONFIG),
    "release": (f"/v1/firmware-releases/{an_id('fw')}", RELEASE),
    "assigned": (f"/v1/devices/{an_id('dev')}/ota", ASSIGNED),
    "command": (f"/v1/devices/{an_id('dev')}/commands/{an_id('cmd')}", COMMAND),
    "webhook": (f"/v1/webhooks/{an_id('wh')}", WEBHOOK),
    "delivery": (f"/v1/webhook-endpoints/{an_id('wh')}/deliveries/{an_id('whd')}", DELIVERY),
    "link": (f"/v1/recordings/{an_id('rec')}/download-url", LINK),
    "session": (f"{SESSIONS}/{SESSION['session_id']}", SESSION),
}
HEADERS = {"X-Request-Id": an_id("req"), "Cache-Control": "no-store", "Content-Type": "application/json"}


def faults(
    body: object,
    path: str,
    query: str = "",
    *,
    method: str = "GET",
    status: int = 200,
    headers: dict[str, str] | None = None,
    more: Sequence[tuple[str, str]] = (),
) -> str:
    """All that the reader says, as one text."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    sent = [*(HEADERS if headers is None else headers).items(), *more]
    return "; ".join(faults_of(method, path, query, status, sent, content))


def page(*rows: Json, more: bool = False, cursor: object = None) -> Json:
    return {"data": list(rows), "has_more": more, "next_cursor": cursor}


def refusal(code: str, **more: object) -> Json:
    return {"error": {"code": code, "message": "No.", "request_id": HEADERS["X-Request-Id"], **more}}


@pytest.mark.parametrize("kind", PLACES)
def test_what_the_contract_allows_passes(kind: str) -> None:
    path, sample = PLACES[kind]
    assert faults(sample, path) == ""


@pytest.mark.parametrize(
    ("kind", "at", "value", "said"),
    [
        # keys that are missing, unknown, null where none may be, or null where they are left out
        *((kind, key, KeyError, f"without {key.split('.')[-1]}") for kind, key in [
            ("user", "external_id"), ("user", "deleted_at"),
            ("device", "firmware_version"), ("device", "name"),
            *(("recording", key) for key in (
                "device_id", "end_user_id", "source", "content_sha256", "content_sha256_verified_at",
                "duration_seconds", "recorded_at", "project_id",
            )),
            *(("transcription", key) for key in (
                "segments", "provider", "language", "word_count", "started_at", "completed_at",
            )),
            ("link", "content_type"), ("link", "file_size_bytes"),
            ("assigned", "data.delivered_at"), ("assigned", "data.applied_at"),
        ]),
        ("webhook", "secret", "whsec_a", "unknown secret"),
        ("webhook", "description", KeyError, "without description"),
        ("webhook", "events", [], "0 members"),
        ("webhook", "events", ["*", "ota.failed"], "* is not alone"),
        ("webhook", "events", ["ota.failed", "ota.failed"], "a type is repeated"),
        ("webhook", "disabled_reason", "gone", "only what is disabled has a reason"),
        ("delivery", "event_type", "recording.eaten", "is none of"),
        ("delivery", "next_attempt_at", AT, "only a pending delivery has a next attempt"),
        ("delivery", "attempts.0.response_body", "x" * 4097, "4097 UTF-16 units"),
        ("user", "nickname", "Ada", "unknown nickname"),
        ("user", "project_id", None, "no string"),
        ("recording", "end_user_id", None, "no string"),
        ("transcription", "segments.0.speaker", None, "no string"),
        ("release", "release_sequence", None, "no integer"),
        ("release", "allow_downgrade", None, "no boolean"),
        ("recording", "media.0.id", None, "no string"),
        ("recording", "deleted_at", 0, "no time"),
        ("release", "release_sequence", 1, "both or neither"),
        # numbers
        ("recording", "file_size_bytes", "256", "no integer"),
        ("recording", "file_size_bytes", 256.0, "no integer"),
        ("recording", "duration_seconds", True, "no integer"),
        ("device", "battery_percent", 101, "not within"),
        ("device", "binding_generation", 2**31, "not within"),
        ("device", "storage_used_mb", 101, "used is at most total"),
        ("transcription", "confidence", 1.5, "not within"),
        # words
        ("config", "source", "built_in", "none of default"),
        ("config", "source", "device", "none of default"),
        ("config", "definition.merge_strategy", "shortest", "none of merge_deep"),
        ("config", "value.auto_update", {}, "without enabled"),
        ("device", "status", "lost", "none of unbound bound"),
        ("recording", "status", "completed", "none of"),
        ("transcription", "provider", "local", "none of"),
        ("command", "status", "done", "none of"),
        # lengths are of UTF-16 units: 128 of these letters take 256
        ("user", "name", "\U0001f600" * 128, "256 UTF-16 units"),
        ("user", "email", "e" * 256, "256 UTF-16 units"),
        ("user", "external_id", "", "0 UTF-16 units"),
        ("user", "metadata", {"\U0001f600" * 33: 1}, "longer than 64"),
        ("user", "metadata", {"a": "x" * 17000}, "larger than 16 KiB"),
        ("user", "metadata", {str(n): n for n in range(51)}, "51 keys"),
        # times and ids
        ("user", "created_at", "2026-01-15T12:00:00Z", "no time"),
        ("user", "created_at", "2026-01-15T12:00:00.000000Z", "no time"),
        ("user", "created_at", "2026-02-30T12:00:00.000Z", "no calendar"),
        ("user", "deleted_at", "", "no time"),
        ("user", "id", "eu_1", "does not match"),
        ("user", "id", an_id("dev"), "does not match"),
        # what ties keys together
        ("device", "device_type", "bota_note", "device_type is the model"),
        ("recording", "media", [MEDIA, MEDIA], "at most one audio"),
        ("recording", "media.0.mime_type", "image/png", "does not match"),
        ("recording", "content_sha256", None, "nothing is verified without a hash"),
        ("recording", "recording_uuid", "6F1C0D3E-0000-4000-8000-000000000000", "does not match"),
        ("transcription", "full_text", None, "a completed one has a text"),
        ("transcription", "status", "processing", "null before"),
        ("command", "expires_at", None, "only a factory reset"),
        # segments
        ("summary", "output", None, "null before"),
        ("summary", "output.facts", " ", "blank"),
        ("summary", "output.issues.0", 7, "no string"),
        ("summary", "output.evidence.issues", [], "1 entries and evidence for 0"),
        ("summary", "output.evidence.facts.0.0.end_ms", -1, "not within"),
        ("summary", "warnings", [], "are empty"),
        ("summary", "warnings.0.code", "odd", "none of"),
        ("summary", "warnings.0.field", "facts", "are empty"),
        ("summary", "warnings.0.code", "unsupported_entries_left_out", "an empty field is named"),
        ("summary", "custom_prompt", "Write a poem.", "a template or a prompt"),
        ("summary", "provider", "whisper", "none of"),
        ("summary", "error_message", "No.", "the error's message"),
        ("transcription", "segments.0.end", 0.0, "end is after start"),
        ("transcription", "segments.0.end", 604_800.5, "not within"),
        ("transcription", "segments.0.confidence", 1.5, "not within"),
        ("transcription", "segments.0.speaker", "s" * 129, "129 UTF-16 units"),
        ("transcription", "segments.0.speaker", "a\u202eb", "it holds"),
        ("transcription", "text", "another", "text is full_text"),
        ("transcription", "segments.0.text", " ", "blank"),
        ("transcription", "segments.0.text", "a\u202eb", "it holds"),
        ("transcription", "segments.0.text", "a\u0007b", "it holds"),
        ("transcription", "segments.0.text", "x" * 10_001, "10001 UTF-16 units"),
        ("transcription", "segments.0.words", [WORD], "unknown words"),
        ("transcription", "segments", [SEGMENT] * 5001, "5001 members"),
        ("transcription", "segments", [with_change(SEGMENT, "start", 1.0), SEGMENT], "starts decrease"),
        ("transcription", "language", "x" * 33, "33 UTF-16 units"),
        # sessions of encrypted uploads: absent, and never null or empty
        ("session", "expires_at", KeyError, "without expires_at"),
        ("session", "expires_at", None, "no time"),
        ("session", "expires_at", "2026-01-15T12:00:00Z", "no time"),
        ("session", "published_at", None, "no time"),
        ("session", "published_at", KeyError, "all of them"),
        ("session", "completion_receipt_sha256", KeyError, "all of them"),
        ("session", "completion_receipt_base64", "A" * 444, "does not match"),
        ("session", "state", "ready", "once it is published"),
        ("session", "state", "created", "none of"),
        ("session", "state", "failed", "the reason is there"),
        ("session", "error", {"code": "expired", "message": "It is."}, "the reason is there"),
        ("session", "project_id", "", "does not match"),
        ("session", "owner_revision", 0, "not within"),
        ("session", "ciphertext_length", 330.0, "no integer"),
        ("session", "session_id", "2F1C8A52-9f4e-4f0a-8a38-0d5f0a3b7c11", "does not match"),
        ("session", "authorization_base64", "A" * 543, "does not match"),
        ("session", "staging", STAGING, "unknown staging"),
        # links
        ("link", "download_url", "https://user@store.example.com/b", "does not match"),
        ("link", "download_url", "https://store.example.com/b#part", "does not match"),
        ("link", "download_url", "https://store.example.com/" + "x" * 8200, "8192"),
    ],
)  # fmt: skip
def test_a_fault_in_an_object_is_refused(kind: str, at: str, value: object, said: str) -> None:
    path, sample = PLACES[kind]
    assert said in faults(with_change(sample, at, value), path)


def test_joiners_of_scripts_are_no_fault() -> None:
    path, sample = PLACES["transcription"]
    assert faults(with_change(sample, "segments.0.text", "می\u200cخواهم क्\u200dष"), path) == ""


def test_words_are_there_when_they_were_asked_for_and_only_then() -> None:
    path, sample = PLACES["transcription"]
    with_words = with_change(sample, "segments.0.words", [WORD])
    listed = with_change(sample, "segments", KeyError)
    assert faults(with_words, path, "include=words") == ""
    assert "without words" in faults(sample, path, "include=words")
    assert faults(page(listed), "/v1/transcriptions") == ""
    assert "unknown segments" in faults(page(sample), "/v1/transcriptions")
    assert faults(page(sample), "/v1/transcriptions", "include=segments") == ""
    assert faults(page(with_words), "/v1/transcriptions", "include=words") == ""


OTHER = with_change(
    with_change(USER, "id", "eu_1VbwYZTSBJlceN7XPBaIX5II"), "created_at", "2026-01-16T12:00:00.000Z"
)
LARGE = with_change(USER, "metadata", {str(n): "x" * 300 for n in range(50)})


@pytest.mark.parametrize(
    ("body", "query", "said"),
    [
        (page(OTHER, USER), "", ""),
        (page(USER, OTHER), "", "not in order"),
        (page(OTHER, USER), "limit=1", "2 members"),
        (page(USER, USER), "", "repeated"),
        (page(USER, more=True), "", "disagree"),
        (page(USER, cursor="a"), "", "disagree"),
        (page(USER, more=True, cursor="a b"), "", "does not match"),
        (page(USER, more=True, cursor="a" * 2049), "", "2049 UTF-16 units"),
        (page(more=True, cursor="a"), "", "without a row"),
        (page(USER) | {"project_id": an_id("proj")}, "", "unknown project_id"),
        (page(OTHER, with_change(USER, "project_id", "proj_1VbwYZTSBJlceN7XPBaIX5II")), "", "in one answer"),
        (
            page(*[with_change(LARGE, "id", f"eu_{n:024}") for n in range(70)]),
            "limit=100",
            "a page of 70 rows",
        ),
    ],
)
def test_a_fault_in_a_page_is_refused(body: Json, query: str, said: str) -> None:
    told = faults(body, "/v1/end-users", query)
    assert said in told if said else told == ""


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, refusal("not_found"), ""),
        (400, refusal("invalid_request", param="name", details=[{"field": "name", "reason": "x"}]), ""),
        (400, refusal("invalid_request", param="name"), "without details"),
        (400, refusal("invalid_request", details={}), "no array"),
        (400, refusal("invalid_request", details=[{"field": "name"}]), "without reason"),
        (400, refusal("invalid_request", param=None, details=[{"field": "a", "reason": "b"}]), "no string"),
        (404, refusal("conflict"), "none of not_found"),
        (418, refusal("teapot"), "none of"),
        (404, refusal("not_found", hint="x"), "unknown hint"),
        (404, {"message": "No."}, "without error"),
        (500, refusal("internal_error", message='File "/srv/x.py", line 1'), "it shows"),
    ],
)
def test_a_fault_in_a_refusal_is_refused(status: int, body: Json, said: str) -> None:
    told = faults(body, PLACES["user"][0], status=status)
    assert said in told if said else told == ""


def problem(**more: object) -> Json:
    return {
        "type": "about:blank", "title": "Not found", "status": 404, "detail": "No.", "code": "not_found",
        "request_id": HEADERS["X-Request-Id"], **more,
    }  # fmt: skip


def test_a_problem_document_states_the_same_facts() -> None:
    headers = HEADERS | {"Content-Type": "application/problem+json"}
    path = PLACES["user"][0]
    assert faults(problem(), path, status=404, headers=headers) == ""
    assert "400 is not 404" in faults(problem(status=400), path, status=404, headers=headers)


@pytest.mark.parametrize(
    ("change", "more", "status", "said"),
    [
        ({"X-Request-Id": "req_1"}, (), 200, "no X-Request-Id"),
        ({"Cache-Control": "private"}, (), 200, "not no-store"),
        ({"Content-Type": "application/json; charset=utf-8"}, (), 200, "Content-Type"),
        ({}, [("x-request-id", "req_2")], 200, "a header is repeated"),
        ({"Content-Encoding": "gzip"}, (), 200, "a Content-Encoding"),
        ({"Content-Length": "1", "Transfer-Encoding": "chunked"}, (), 200, "chunked"),
        ({"Location": "/v1"}, (), 307, "a redirect"),
        ({"X-RateLimit-Limit": "1"}, (), 200, "X-RateLimit"),
        ({"Idempotent-Replayed": "1"}, (), 200, "Idempotent-Replayed"),
        ({"Bota-Version": "today"}, (), 200, "Bota-Version"),
        ({}, (), 202, "status 202"),
        ({}, (), 401, "WWW-Authenticate"),
        ({}, (), 405, "without Allow"),
        ({}, (), 425, "without Retry-After"),
        ({"Retry-After": "1"}, (), 429, "without X-RateLimit"),
    ],
)
def test_a_fault_in_status_or_headers_is_refused(
    change: dict[str, str], more: Sequence[tuple[str, str]], status: int, said: str
) -> None:
    path, sample = PLACES["user"]
    assert said in faults(sample, path, status=status, headers=HEADERS | change, more=more)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a":1,"a":2}', "a key is repeated"),
        (b'{"a":NaN}', "NaN is no number"),
        (b'{"a":"\\ud800"}', "surrogates"),
        (b'{"a":"\xff"}', "no JSON"),
        (b"{", "no JSON"),
    ],
)
def test_a_fault_in_the_form_of_json_is_refused(body: bytes, said: str) -> None:
    assert said in faults(body, PLACES["user"][0])


def test_nothing_comes_with_204_or_head() -> None:
    assert "a body" in faults(b"x", PLACES["user"][0], method="DELETE", status=204)
    assert "a body" in faults(USER, PLACES["user"][0], method="HEAD")


def test_health_has_exactly_three_keys() -> None:
    sound = {"status": "healthy", "database": "connected", "billing": "disabled"}
    assert faults(sound, "/health") == ""
    assert "unknown version" in faults(sound | {"version": "1"}, "/health")


BARE = {name: value for name, value in TRANSCRIPTION.items() if name != "segments"}
NESTED = {name: value for name, value in BARE.items() if name not in ("text", "full_text")}
EVENT: Json = {
    "id": an_id("evt"), "type": "transcription.completed", "created_at": AT,
    "data": BARE | {"transcription": NESTED},
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (EVENT, ""),
        (with_change(with_change(EVENT, "data.text", None), "data.full_text", None), ""),
        (with_change(EVENT, "data.segments", []), "unknown segments"),
        (with_change(EVENT, "data.transcription.full_text", "x"), "unknown full_text"),
        (with_change(EVENT, "data.transcription", KeyError), "without transcription"),
        (with_change(EVENT, "data.transcription.word_count", 3), "3 here, 2 above"),
        (with_change(EVENT, "data.word_count", 2.0), "no integer"),
        (with_change(EVENT, "type", "transcription.done"), "no type of event"),
        (with_change(EVENT, "type", "Done"), "does not match"),
        (with_change(EVENT, "id", "evt_1"), "does not match"),
        (with_change(with_change(EVENT, "data.text", "x" * 2**20), "data.full_text", "x" * 2**20), "bytes"),
    ],
)
def test_a_fault_in_an_event_is_refused(event: Json, said: str) -> None:
    told = "; ".join(event_faults(json.dumps(event).encode()))
    assert said in told if said else told == ""
