"""The checker that looks at every answer of every test notices what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.schema_check import check_answer

REQUEST_ID = "req_0VbwYZTSBJlceN7XPBaIX5II"
MOMENT = "2026-01-15T12:00:00.000Z"
USER: dict[str, Any] = {
    "id": "eu_0VbwYZTSBJlceN7XPBaIX5II", "external_id": None, "name": None, "email": None, "metadata": {},
    "project_id": "proj_0VbwYZTSBJlceN7XPBaIX5II",
    "created_at": MOMENT, "updated_at": MOMENT, "deleted_at": None,
}  # fmt: skip


def check(
    body: object,
    *more: tuple[str, str],
    status: int = 200,
    path: str = "/v1/end-users/eu_1",
    method: str = "GET",
    without: str = "",
    content_type: str = "application/json",
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = [
        ("X-Request-Id", REQUEST_ID),
        ("Cache-Control", "no-store"),
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("Date", "Thu, 15 Jan 2026 12:00:00 GMT"),
    ]
    kept = [(name, value) for name, value in headers if name != without]
    check_answer(method, path, status, [*kept, *more], content)


def error(code: str, **more: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": "No.", "request_id": REQUEST_ID, **more}}


def test_right_answers_pass() -> None:
    check(USER)
    check({"data": [USER], "has_more": False, "next_cursor": None}, path="/v1/end-users")
    check(error("not_found"), status=404)
    check(error("unauthorized"), ("WWW-Authenticate", "Bearer"), status=401)
    check(error("not_found"), status=404, path="/v1/nothing")
    check(error("method_not_allowed"), ("Allow", "GET, HEAD"), status=405, method="PUT")
    check(
        {"type": "about:blank", "title": "x", "status": 404, "detail": "x", "code": "not_found",
         "request_id": REQUEST_ID},
        status=404,
        content_type="application/problem+json",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**USER, "name": 1}, "1 is not"),
        ({**USER, "created_at": "2026-01-15T12:00:00Z"}, "does not match"),
        ({name: USER[name] for name in USER if name != "external_id"}, '"external_id" is a required'),
        ({**USER, "metadata": []}, 'not of type "object"'),
        (b'{"id":"eu_1","id":"eu_2"}', "JSON key is repeated"),
        (json.dumps({**USER, "metadata": {"a": float("nan")}}).encode(), "NaN is not JSON"),
        (b"{", "Expecting"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_noticed(body: object, words: str) -> None:
    with pytest.raises((AssertionError, json.JSONDecodeError), match=words):
        check(body)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("x-request-id", REQUEST_ID), "header is repeated"),
        (("Content-Encoding", "gzip"), "compressed"),
        (("Transfer-Encoding", "chunked"), "chunked"),
        (("X-Secret", "1"), "undocumented headers"),
        (("X-RateLimit-Limit", "-1"), "less than the minimum"),
    ],
)
def test_a_wrong_header_is_noticed(more: tuple[str, str], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check(USER, more)


@pytest.mark.parametrize("without", ["X-Request-Id", "Cache-Control", "Content-Type", "Content-Length"])
def test_a_missing_header_is_noticed(without: str) -> None:
    with pytest.raises(AssertionError, match=r"GET /v1/end-users/eu_1 -> 200: "):
        check(USER, without=without)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (201, USER, "not documented"),
        (202, USER, "not documented"),
        (302, USER, "redirect"),
        (418, error("teapot"), "not documented"),
        (404, error("conflict"), '"conflict" is not one of'),
        (404, {"message": "No."}, '"error" is a required'),
        (404, {"error": {"code": "not_found", "message": "x", "request_id": "req_2"}}, "two request ids"),
        (401, error("unauthorized"), "no WWW-Authenticate"),
        (429, error("rate_limit_exceeded"), "no Retry-After"),
        (503, error("unavailable"), "no Retry-After"),
        (204, b"x", "a body where none may be"),
    ],
)
def test_a_wrong_status_or_refusal_is_noticed(status: int, body: object, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check(body, status=status)


def test_an_answer_from_a_route_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError, match="unknown route"):
        check({}, path="/v1/nothing")
    with pytest.raises(AssertionError, match="unknown method"):
        check({}, method="PUT")
    with pytest.raises(AssertionError, match="no Allow"):
        check(error("method_not_allowed"), status=405, method="PUT")
    with pytest.raises(AssertionError, match="body in the answer to HEAD"):
        check(USER, method="HEAD")
