"""The headers that are stored with an object and sent with its answers.

Source: "Working with object metadata", Amazon S3 User Guide.
"""

import re
from email.utils import formatdate
from functools import lru_cache

from lapel.embedded.s3.files.objects import ObjectFacts
from lapel.embedded.s3.protocol.request import Headers, Request
from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error

_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
_USER = "x-amz-meta-"
_MAX_USER = 2048
_MAX_HEADER = 2048
DEFAULT_TYPE = "binary/octet-stream"
# The query parameters that replace a header of the answer.
OVERRIDES = frozenset(f"response-{name}" for name in ("content-type", *_KEPT))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Refused, because the store cannot do what these headers request.
_NOT_SERVED = (
    "if-match",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-legal-hold",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
)


def refuse_unserved(request: Request) -> None:
    """Raise `S3Error` NotImplemented for a header that asks for more than this store does."""
    for name in _NOT_SERVED:
        if name.encode() in request.headers:
            raise S3Error("NotImplemented", f"This store does not serve the header {name}.")


def kept_headers(request: Request, signed: Signed) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return content type, other headers and user metadata of a PUT.

    If a link is used, headers that it does not sign, such as Cache-Control, are dropped: the holder of the
    link must not decide how others get the object. Raises `S3Error` for headers that are too long, and for a
    Content-Encoding that a link does not sign.
    """
    by_link = b"authorization" not in request.headers
    headers: dict[str, str] = {}
    for name in _KEPT:
        value = request.header(name)
        if value is not None and not (by_link and name not in signed.headers):
            headers[name] = value
        elif value is not None and name == "content-encoding":
            raise S3Error("AccessDenied", "A Content-Encoding that is sent must be signed.")
    if "content-encoding" in headers:  # aws-chunked describes the transfer, not the object
        codings = [part.strip() for part in headers["content-encoding"].split(",")]
        headers["content-encoding"] = ",".join(part for part in codings if part.lower() != "aws-chunked")
        if not headers["content-encoding"]:
            del headers["content-encoding"]
    user: dict[str, str] = {}
    for raw in request.headers:
        name = raw.decode("latin-1")
        if name.startswith(_USER):
            user[name.removeprefix(_USER)] = request.header(name) or ""
    if sum(len(name) + len(value.encode()) for name, value in user.items()) > _MAX_USER:
        raise S3Error("MetadataTooLarge", f"User metadata has at most {_MAX_USER} bytes.")
    content_type = request.header("content-type") or DEFAULT_TYPE
    if any(len(value) > _MAX_HEADER for value in (content_type, *headers.values())):
        raise S3Error("MetadataTooLarge", f"A kept header has at most {_MAX_HEADER} characters.")
    return content_type, headers, user


def answer_headers(request: Request, facts: ObjectFacts) -> Headers:
    """Return the headers that describe the object, with the response-* overrides of the query.

    Raises `S3Error` for an override with control characters.
    """
    content_type = facts.content_type
    kept = facts.headers
    for name in sorted(request.target.query.selecting & OVERRIDES):
        value = request.query[name]
        if _CONTROL.search(value):
            raise S3Error("InvalidArgument", f"{name} has control characters.")
        if name == "response-content-type":
            content_type = value
        else:
            kept = {**kept, name.removeprefix("response-"): value}
    headers: Headers = [
        (b"content-type", content_type.encode()),
        (b"etag", b'"%s"' % facts.etag.encode()),
        (b"last-modified", http_date(facts.modified // 1000)),
        (b"accept-ranges", b"bytes"),
    ]
    headers += [(name.encode(), value.encode()) for name, value in kept.items()]
    headers += [((_USER + name).encode(), value.encode()) for name, value in facts.user.items()]
    return headers


def checksum_headers(checksums: dict[str, str]) -> Headers:
    """Return the x-amz-checksum-* headers of an object that was put in one piece."""
    headers = [(f"x-amz-checksum-{name}".encode(), value.encode()) for name, value in checksums.items()]
    return [*headers, (b"x-amz-checksum-type", b"FULL_OBJECT")] if headers else []


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> bytes:
    """Return seconds since 1970 as `Thu, 15 Jan 2026 12:00:00 GMT`."""
    return formatdate(seconds, usegmt=True).encode()
