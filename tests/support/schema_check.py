"""Checks every answer that any test gets against the OpenAPI document and with the strict reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from lapel.foundation.http.operations import Operation
from lapel.foundation.http.router import Router
from tests.support.declared import declared_operations, described_api
from tests.support.strict import reader as strict_reader

Json = dict[str, Any]
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{1,64}\Z")
# Headers that the document need not name: they belong to HTTP, not to an operation.
_UNNAMED = {"content-length", "content-type", "cache-control", "date", "connection", "allow", "bota-version"}
_UNNAMED |= {"content-security-policy", "x-content-type-options", "transfer-encoding", "x-accel-buffering"}
_NO_BODY = {204, 304}


def check_answer(
    method: str, path: str, status: int, headers: Sequence[tuple[str, str]], body: bytes, query: str = ""
) -> None:
    """Raises AssertionError when the answer is not as documented or breaks the contract; it says where.

    `headers`: all of them, repeated ones repeated. `path`: decoded, without the query.
    """
    where = f"{method} {path} -> {status}"
    named = [name.lower() for name, _ in headers]
    assert len(named) == len(set(named)), f"{where}: a header is repeated: {named}"
    fields = {name.lower(): value for name, value in headers}
    _check_headers(where, path, method, status, fields, body)
    if path == "/metrics":
        return
    if method != "HEAD" and status not in _NO_BODY:
        _check_content(where, fields, body)
    described = _described(method, path, status)
    if described is not None:
        _check_described(where, described, method, status, fields, body)
    strict_reader.read(method, path, query, status, headers, body)


def _check_headers(
    where: str, path: str, method: str, status: int, fields: dict[str, str], body: bytes
) -> None:
    assert _REQUEST_ID.match(fields.get("x-request-id", "")), f"{where}: no X-Request-Id"
    if path.startswith("/v1"):
        assert fields.get("cache-control") == "no-store", f"{where}: Cache-Control is not no-store"
    assert "content-encoding" not in fields, f"{where}: it is compressed"
    # The length of a long export is known only at its end, and a stream has none.
    may_be_chunked = path.endswith("/export") or fields.get("content-type") == "text/event-stream"
    chunked = may_be_chunked and fields.get("transfer-encoding") == "chunked"
    assert chunked or "transfer-encoding" not in fields, f"{where}: it is chunked"
    if status in _NO_BODY:
        assert not body, f"{where}: a body where none may be"
    elif method == "HEAD":
        assert not body, f"{where}: a body in the answer to HEAD"
    elif chunked:
        assert "content-length" not in fields, f"{where}: chunked and with a Content-Length"
    else:
        assert fields.get("content-length") == str(len(body)), f"{where}: wrong Content-Length"
    assert not 300 <= status < 400, f"{where}: a redirect"
    if status in {425, 429, 503}:
        assert int(fields.get("retry-after", "0")) >= 1, f"{where}: no Retry-After"
    if status == 401:
        assert fields.get("www-authenticate") == "Bearer", f"{where}: no WWW-Authenticate"
    if status == 405:
        assert fields.get("allow"), f"{where}: no Allow"


def _check_content(where: str, fields: dict[str, str], body: bytes) -> None:
    content_type = fields.get("content-type", "")
    if content_type not in ("application/json", "application/problem+json"):
        return
    value = strict_json(where, body)
    if content_type == "application/json" and isinstance(value, dict) and "error" in value:
        error = value["error"]
        if isinstance(error, dict) and "request_id" in error:
            assert error["request_id"] == fields["x-request-id"], f"{where}: two request ids"


def strict_json(where: str, body: bytes) -> Any:
    """The value of JSON that has no duplicate keys and no NaN."""

    def once(pairs: list[tuple[str, Any]]) -> Json:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"{where}: a JSON key is repeated: {keys}"
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{where}: {constant} is not JSON")

    return json.loads(body.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)


def _check_described(
    where: str, described: Json, method: str, status: int, fields: dict[str, str], body: bytes
) -> None:
    responses: Json = described["responses"]
    assert str(status) in responses, f"{where}: this status is not documented ({sorted(responses)})"
    response = _resolve(responses[str(status)])
    for name, header in response.get("headers", {}).items():
        value = fields.get(name.lower())
        if value is not None:
            schema = _resolve(header)["schema"]
            whole = schema.get("type") == "integer"
            _validate(f"{where}: header {name}", _key(schema), int(value) if whole else value)
        else:
            assert not _resolve(header).get("required"), f"{where}: no header {name}"
    unnamed = set(fields) - _UNNAMED - {name.lower() for name in response.get("headers", {})}
    assert not unnamed, f"{where}: undocumented headers {unnamed}"
    if method == "HEAD":
        return
    content: Json = response.get("content", {})
    if not content:
        assert not body, f"{where}: a body that is not documented"
        return
    media_type = fields.get("content-type", "").partition(";")[0]
    assert media_type in content, f"{where}: {media_type} is not documented ({sorted(content)})"
    if media_type in ("application/json", "application/problem+json"):
        _validate(where, _key(content[media_type]["schema"]), json.loads(body))


@cache
def declared_router() -> Router:
    """Finds the declared operations of a path, by method."""
    return Router((each.method, each.path, each) for each in declared_operations())


def _described(method: str, path: str, status: int) -> Json | None:
    """The document's description of the operation that answered; None when there is none."""
    found = declared_router().find(path)
    if found is None:
        assert status in {404, 400, 408, 413, 431}, f"{method} {path} -> {status}: an unknown route"
        return None
    operation: Operation | None = found[0].get(method)
    if operation is None:
        nothing = {404} if any("-" in value for value in found[1]) else set[int]()  # no id has a hyphen
        assert status in {405, 400, 408} | nothing, f"{method} {path} -> {status}: an unknown method"
        return None
    return described_api()["paths"][operation.path][operation.method.lower()]


def _resolve(value: Json) -> Json:
    if "$ref" not in value:
        return value
    found: Any = described_api()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _key(schema: Json) -> str:
    return json.dumps(schema, sort_keys=True)


@cache
def _validator(schema: str) -> Callable[[Any], list[str]]:
    whole = {**json.loads(schema), "components": described_api()["components"]}
    checker = Draft202012Validator(whole)

    def faults(value: Any) -> list[str]:
        return [f"{error.instance_path}: {error.message}" for error in checker.iter_errors(value)]

    return faults


def _validate(where: str, schema: str, value: Any) -> None:
    faults = _validator(schema)(value)
    assert not faults, f"{where}: {'; '.join(faults)}"
