"""Reads one answer as the strictest client would: headers, the form of JSON, then the object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from tests.support.strict import sealed_uploads
from tests.support.strict.lists import of_page_size
from tests.support.strict.refusals import refusal
from tests.support.strict.routes import shape_for
from tests.support.strict.shapes import null_or, time

Headers = Sequence[tuple[str, str]]
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9]{24}")
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_JSON = ("application/json", "application/problem+json")
# Objects that a client or a device wrote itself: their keys are free.
_FREE = {"metadata", "client_context", "result", "error", "before", "after", "details"}


def read(method: str, path: str, query: str, status: int, headers: Headers, body: bytes) -> None:
    """Raises AssertionError with the faults of an answer."""
    found = faults_of(method, path, query, status, headers, body)
    faults = list(islice(found, 20))
    assert not faults, f"{method} {path} -> {status}: " + "; ".join(faults)


def faults_of(
    method: str, path: str, query: str, status: int, headers: Headers, body: bytes
) -> Iterator[str]:
    """All faults of an answer against the contract. `path` is decoded, `query` is not."""
    names = [name.lower() for name, _ in headers]
    fields = {name.lower(): value for name, value in headers}
    if len(names) != len(fields):
        yield f"a header is repeated: {sorted(name for name in fields if names.count(name) > 1)}"
    yield from _header_faults(path, status, fields)
    if method == "HEAD" or status == 204:
        if body:
            yield "a body where none may be"
        return
    content_type = fields.get("content-type", "")
    if path.endswith("/export") and status < 400:
        return  # a file of any format
    if "json" not in content_type:
        if status >= 400:
            yield f"a refusal as {content_type!r}"
        return
    if content_type not in _JSON:
        yield f"Content-Type {content_type!r}"
    try:
        value = _parsed(body)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    yield from _body_faults(method, path, status, dict(parse_qsl(query)), content_type, value, body)


def _header_faults(path: str, status: int, fields: dict[str, str]) -> Iterator[str]:
    if not _REQUEST_ID.fullmatch(fields.get("x-request-id", "")):
        yield "no X-Request-Id"
    if path.startswith("/v1") and fields.get("cache-control") != "no-store":
        yield "not no-store"
    if 300 <= status < 400:
        yield "a redirect"
    if "content-encoding" in fields:
        yield "a Content-Encoding"
    if "content-length" in fields and "transfer-encoding" in fields:
        yield "Content-Length and chunked"
    if "bota-version" in fields and not re.fullmatch(r"\d{4}-\d\d-\d\d", fields["bota-version"]):
        yield "Bota-Version is no date"
    yield from _header_faults_by_status(status, fields)
    yield from _limit_faults(status, fields)


def _header_faults_by_status(status: int, fields: dict[str, str]) -> Iterator[str]:
    if status == 401 and fields.get("www-authenticate") != "Bearer":
        yield "401 without WWW-Authenticate: Bearer"
    if status == 405 and not fields.get("allow"):
        yield "405 without Allow"
    if status in (425, 429) and not _WHOLE.fullmatch(fields.get("retry-after", "")):
        yield f"{status} without Retry-After"
    if "idempotent-replayed" in fields and (fields["idempotent-replayed"], status // 100) != ("true", 2):
        yield "Idempotent-Replayed on another answer"


def _limit_faults(status: int, fields: dict[str, str]) -> Iterator[str]:
    limits = [fields[name] for name in _LIMITS if name in fields]
    if limits and (len(limits) != len(_LIMITS) or not all(map(_WHOLE.fullmatch, limits))):
        yield f"X-RateLimit headers {limits}"
    elif limits and int(limits[1]) > int(limits[0]):
        yield "more remaining than the limit"
    if status == 429 and not limits:
        yield "429 without X-RateLimit headers"


def _body_faults(
    method: str, path: str, status: int, query: dict[str, str], content_type: str, value: Any, body: bytes
) -> Iterator[str]:
    if sealed_uploads.LIMITED.fullmatch(f"{method} {path}") and len(body) > sealed_uploads.MOST_BYTES:
        yield f"{len(body)} bytes, and clients read {sealed_uploads.MOST_BYTES}"
    if status >= 400 and not (path.startswith("/health") and status == 503):
        yield from refusal(status, content_type)(value, "$")
        return
    if path in ("/v1/openapi.json", "/v1/keys/jwks.json"):
        return
    shape, known = shape_for(method, path, status, query)
    if shape is not None:
        yield from shape(value, "$")
    elif known:
        yield f"status {status}"
    yield from _common_faults(value, "$")
    projects = set(_projects(value))
    if len(projects) > 1:
        yield f"projects {sorted(projects)} in one answer"
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        yield from of_page_size(body, len(value["data"]))


def _common_faults(value: Any, at: str) -> Iterator[str]:
    """Faults against the rules for every object, also for objects that the contract does not list."""
    if isinstance(value, list):
        for index, member in enumerate(value):
            yield from _common_faults(member, f"{at}[{index}]")
    elif isinstance(value, dict):
        for name, member in value.items():
            if name.endswith("_at"):
                yield from null_or(time)(member, f"{at}.{name}")
            if name == "project_id" and not isinstance(member, str):
                yield f"{at}.{name}: {member!r}"
            if name not in _FREE:
                yield from _common_faults(member, f"{at}.{name}")


def _projects(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for member in value:
            yield from _projects(member)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name == "project_id":
                yield str(member)
            elif name not in _FREE:
                yield from _projects(member)


def _parsed(body: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        named = dict(pairs)
        if len(named) != len(pairs):
            raise ValueError(f"a key is repeated: {[name for name, _ in pairs]}")
        return named

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    value = json.loads(body.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate, which is not text
    return value
