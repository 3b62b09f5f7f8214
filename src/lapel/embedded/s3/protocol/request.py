"""Parses one request to the store, and sends the status, headers and body of its answer.

The handlers, which decide the answer, are in `calls/`.

Source for the canonical path: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API
reference.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from lapel.embedded.s3.protocol.query import NO_QUERY, Query, read_query
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import CONNECTION, ClientConnection, InThread, Receive, Scope, Send
from lapel.foundation.storage.sigv4 import encode_path

Headers = list[tuple[bytes, bytes]]

# A browser that opens an answer as a page may show it, but runs no script and loads nothing from elsewhere.
_ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'",
    ),
]


class Target(NamedTuple):
    """Path and query of a request, parsed. Many requests may share one."""

    canonical_path: str
    bucket: str
    key_bytes: bytes
    query: Query
    link_signature: str | None
    """The signature of a link; `query` lacks it."""


_NO_TARGET = Target("", "", b"", NO_QUERY, None)


class Request:
    """Method, target and headers of one request. Names of headers are lower case.

    `status` and `seconds`: of its answer, once that has begun (`started`).
    """

    __slots__ = (
        "_began",
        "_scope",
        "_send",
        "cors",
        "headers",
        "id",
        "method",
        "raw_path",
        "raw_query",
        "receive",
        "seconds",
        "started",
        "status",
        "target",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.receive = receive
        self._send = send
        self._scope = scope
        self.id = request_id
        self.cors: Headers = []
        self.started = False
        self.status = 0
        self.seconds = 0.0
        self._began = time.perf_counter()
        self.method: str = scope["method"]
        self.headers = _header_map(scope["headers"])
        self.raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        self.raw_query: bytes = scope["query_string"]
        self.target = _NO_TARGET

    def read_target(self, prefix: bytes) -> None:
        """Parse path and query into `target`; `prefix` is the beginning of all paths of this store.

        Raises `S3Error` for a path without this prefix, and for a query that is not UTF-8 or gives a name
        twice.
        """
        path = unquote_to_bytes(self.raw_path) if b"%" in self.raw_path else self.raw_path
        if not path.startswith(prefix + b"/"):
            raise S3Error("InvalidURI", "The path does not begin with this store's path prefix.")
        bucket, _, key = path[len(prefix) + 1 :].partition(b"/")
        bucket_name, canonical = bucket.decode("ascii", "replace"), encode_path(path)
        self.target = Target(canonical, bucket_name, key, NO_QUERY, None)  # for the refusal of a query
        if self.raw_query:
            self.target = Target(canonical, bucket_name, key, *read_query(self.raw_query))

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query, without the signature of a link."""
        return self.target.query.values

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status and headers (Content-Length included); the caller then sends the body."""
        await self._start(status, self._all(headers))

    async def send_whole(self, status: int, headers: Headers, body: bytes | memoryview) -> None:
        """Send status, headers (Content-Length included) and the whole body."""
        sent = self._all(headers)
        connection: ClientConnection | None = self._scope.get(CONNECTION)
        if connection is not None and connection.answer(self._scope, status, sent, body):
            self._note(status)
        else:
            await self._start(status, sent)
            await self.send_body(body)

    async def send_body(self, body: bytes | memoryview, *, more: bool = False) -> None:
        """Send a piece of the body; with `more`, further pieces follow."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def receive_into(self, buffer: memoryview, in_thread: InThread) -> int:
        """Read the body into memory, without the event loop. Returns the number of bytes, which may be 0:
        then go on with `receive`."""
        connection: ClientConnection | None = self._scope.get(CONNECTION)
        return 0 if connection is None else await connection.direct().receive_into(buffer, in_thread)

    async def send_file(self, file: int, offset: int, length: int, in_thread: InThread) -> int:
        """Send a part of a file as a piece of the body, without the event loop. Returns the number of bytes,
        which may be 0: then go on with `send_body`, which also ends the body."""
        connection: ClientConnection | None = self._scope.get(CONNECTION)
        if connection is None:
            return 0
        return await connection.direct().send_file(file, offset, length, in_thread)

    async def answer(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        """Send a whole answer. A body that is not empty is an XML document."""
        all_headers = [*(headers or [])]
        if status not in {204, 304}:
            all_headers.append((b"content-length", b"%d" % len(body)))
        if body:
            all_headers.append((b"content-type", b"application/xml"))
        await self.send_whole(status, all_headers, b"" if self.method == "HEAD" else body)

    def _all(self, headers: Headers) -> Headers:
        """All headers of an answer."""
        request_id = (b"x-amz-request-id", self.id.encode())
        return [*_ALWAYS, request_id, *self.cors, *headers]

    async def _start(self, status: int, headers: Headers) -> None:
        self._note(status)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _note(self, status: int) -> None:
        """Remember which answer has begun, and after how many seconds."""
        self.started, self.status, self.seconds = True, status, time.perf_counter() - self._began

    def header(self, name: str) -> str | None:
        """Return a header's value (repeated headers joined by commas). Raises `S3Error` if it is not
        UTF-8."""
        raw = self.headers.get(name.encode())
        if raw is None:
            return None
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise S3Error("InvalidArgument", f"The header {name} is not UTF-8.") from None


def _header_map(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(raw)
    if len(headers) != len(raw):  # S3 signs repeated headers joined by commas, so this store joins them too
        headers = {}
        for name, value in raw:
            headers[name] = headers[name] + b"," + value if name in headers else value
    return headers
