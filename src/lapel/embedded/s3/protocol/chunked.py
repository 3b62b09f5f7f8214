"""The body format `aws-chunked`: chunks with a length, perhaps a signature, and then checksums.

    <hex length>[;chunk-signature=<hex>]\\r\\n <bytes> \\r\\n … 0[;chunk-signature=<hex>]\\r\\n
    [x-amz-checksum-…:<base64>\\r\\n] [x-amz-trailer-signature:<hex>\\r\\n] \\r\\n

Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and "…
including trailing headers", Amazon S3 API reference.
"""

import hmac
import re
from hashlib import sha256

from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error

_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_WITH_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_UNSIGNED_WITH_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,10})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER = re.compile(rb"([a-z0-9-]{1,64}):([\x20-\x7e]{1,256})")
_EMPTY = sha256(b"").hexdigest()
_MAX_LINE = 512
_MAX_TRAILERS = 8


class ChunkedDecoder:
    """Turns the bytes of one aws-chunked body, in pieces of any size, into the object's bytes.

    Keeps at most one line in memory. The signature of a chunk is checked when the chunk is complete, which is
    early enough, because the object becomes visible only at the end. Raises `S3Error` for another format.
    """

    def __init__(self, signed: Signed) -> None:
        if signed.payload not in {_SIGNED, _SIGNED_WITH_TRAILER, _UNSIGNED_WITH_TRAILER}:
            raise S3Error("NotImplemented", f"This store does not accept the payload {signed.payload}.")
        self._signed = signed
        self._chunks_signed = signed.payload != _UNSIGNED_WITH_TRAILER
        self._trailer_allowed = signed.payload != _SIGNED
        self._previous = signed.signature
        self._line = bytearray()
        self._remaining = 0  # bytes of the present chunk that are still to come
        self._expect = "length"  # then data, end (the CRLF behind data), trailer, nothing
        self._hash = sha256()
        self._claimed = b""
        self._trailer_signature: str | None = None
        self.trailers: dict[str, str] = {}

    def feed(self, received: bytes) -> list[memoryview]:
        """Take the next received bytes; return the object's bytes among them.

        Raises `S3Error` for bytes that are not in the format, and for a chunk with a wrong signature.
        """
        found: list[memoryview] = []
        view, position = memoryview(received), 0
        while position < len(view):
            if self._expect == "data":
                piece = view[position : position + self._remaining]
                position += len(piece)
                self._remaining -= len(piece)
                if self._chunks_signed:
                    self._hash.update(piece)
                found.append(piece)
                if self._remaining == 0:
                    self._expect = "end"
                continue
            if self._expect == "nothing":
                raise _broken()
            end = received.find(b"\n", position)
            stop = len(view) if end < 0 else end + 1
            self._line += view[position:stop]
            position = stop
            if len(self._line) > _MAX_LINE:
                raise _broken()
            if end >= 0:
                self._take_line()
        return found

    def finish(self) -> None:
        """Raise `S3Error` IncompleteBody if the body ended before its last chunk or its last trailer."""
        if self._expect != "nothing":
            raise S3Error("IncompleteBody", "The body ended before its last chunk.")

    def _take_line(self) -> None:
        if not self._line.endswith(b"\r\n"):
            raise _broken()
        line = bytes(self._line[:-2])
        self._line.clear()
        if self._expect == "end" and not line:
            self._end_chunk()
            self._expect = "length"
        elif self._expect == "length":
            self._start_chunk(line)
        elif self._expect == "trailer":
            self._take_trailer(line)
        else:
            raise _broken()

    def _start_chunk(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None or (match[2] is not None) != self._chunks_signed:
            raise _broken()
        self._remaining = int(match[1], 16)
        self._claimed = match[2] or b""
        if self._remaining:
            self._expect = "data"
        else:
            self._end_chunk()
            self._expect = "trailer"

    def _end_chunk(self) -> None:
        if self._chunks_signed:
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._start_of_text()}\n{_EMPTY}\n{self._hash.hexdigest()}"
            self._compare(text, self._claimed)
            self._hash = sha256()

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self._end_trailers()
            return
        match = _TRAILER.fullmatch(line)
        if match is None or not self._trailer_allowed or len(self.trailers) >= _MAX_TRAILERS:
            raise _broken()
        name, value = match[1].decode(), match[2].decode().strip()
        if name in self.trailers:
            raise _broken()
        if name == "x-amz-trailer-signature":
            self._trailer_signature = value
        else:
            self.trailers[name] = value

    def _end_trailers(self) -> None:
        if self._chunks_signed and self._trailer_allowed:
            lines = "".join(f"{name}:{value}\n" for name, value in sorted(self.trailers.items()))
            digest = sha256(lines.encode()).hexdigest()
            text = f"AWS4-HMAC-SHA256-TRAILER\n{self._start_of_text()}\n{digest}"
            self._compare(text, (self._trailer_signature or "").encode())
        self._expect = "nothing"

    def _start_of_text(self) -> str:
        return f"{self._signed.timestamp}\n{self._signed.scope}\n{self._previous}"

    def _compare(self, text: str, claimed: bytes) -> None:
        expected = hmac.digest(self._signed.key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claimed):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match the chunk.")
        self._previous = expected


def _broken() -> S3Error:
    return S3Error("InvalidRequest", "The body is not in the format aws-chunked.")
