"""The hashes that a client sends with its bytes, compared with hashes of the received bytes.

Source: "Checking object integrity", Amazon S3 User Guide.
"""

import hashlib
import hmac
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from typing import Protocol

from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error

_PREFIX = "x-amz-checksum-"
_NO_HASHES = {"x-amz-checksum-mode", "x-amz-checksum-algorithm", "x-amz-checksum-type"}


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 with the interface of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_OF_S3 = ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME")
_SIZES = {"sha256": 32, "sha1": 20, "crc32": 4}


def _new(algorithm: str) -> _Hash:
    if algorithm == "crc32":
        return _Crc32()
    return hashlib.new(algorithm, usedforsecurity=False)


class Digests:
    """All hashes of one body: those that the request names, and MD5 for the ETag.

    A body with a SHA-256 gets no MD5, which takes more time than everything else. S3 too has ETags that are
    no MD5: of objects in parts, and of encrypted ones.

    Raises `S3Error` at once for a malformed hash, and for an algorithm that this store lacks, because the
    client relies on the check.
    """

    def __init__(self, request: Request, signed: Signed) -> None:
        self._hashes: dict[str, _Hash] = {}
        self._expected: dict[str, bytes] = {}
        self._in_trailer: str | None = None
        for raw in request.headers:
            name = raw.decode("latin-1")
            if name.startswith(_PREFIX) and name not in _NO_HASHES:
                algorithm = _algorithm(name)
                self._expected[algorithm] = _decode(request.header(name) or "", _SIZES[algorithm])
                self._hashes[algorithm] = _new(algorithm)
        announced = request.header("x-amz-trailer")
        if announced is not None:
            self._in_trailer = _algorithm(announced.strip().lower())
            self._hashes[self._in_trailer] = _new(self._in_trailer)
        self._md5 = _content_md5(request)
        if self._md5 is not None or "sha256" not in self._hashes:
            self._hashes["md5"] = _new("md5")
        self._payload = signed.payload if len(signed.payload) == 64 else None
        if self._payload is not None and "sha256" not in self._hashes:
            self._hashes["sha256"] = _new("sha256")

    def update(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Take the next bytes of the body."""
        for piece in pieces:
            view = memoryview(piece)
            for each in self._hashes.values():
                each.update(view)

    def verify(self, trailers: Mapping[str, str]) -> dict[str, str]:
        """Compare everything; return the client's checksums (base64 by algorithm) to keep with the object.

        `trailers`: the trailing headers of an aws-chunked body. Raises `S3Error` if a hash differs or is
        missing.
        """
        expected = dict(self._expected)
        if self._in_trailer is not None:
            value = trailers.get(_PREFIX + self._in_trailer)
            if value is None:
                raise S3Error("InvalidRequest", "The announced trailing checksum is missing.")
            expected[self._in_trailer] = _decode(value, _SIZES[self._in_trailer])
        for algorithm, digest in expected.items():
            if not hmac.compare_digest(self._hashes[algorithm].digest(), digest):
                raise S3Error("BadDigest", f"The {algorithm} of the body differs from the one that was sent.")
        if self._md5 is not None and not hmac.compare_digest(self._hashes["md5"].digest(), self._md5):
            raise S3Error("BadDigest", "The MD5 of the body differs from the one that was sent.")
        if self._payload is not None and self._hashes["sha256"].digest().hex() != self._payload:
            raise S3Error("XAmzContentSHA256Mismatch", "The body differs from the one that was signed.")
        return {algorithm: b64encode(digest).decode() for algorithm, digest in expected.items()}

    def etag(self) -> str:
        """Return the body's MD5 in hexadecimal, the usual ETag of an object that was put in one piece.

        Without an MD5, the ETag is made of the SHA-256, in the form of an object of one part: clients know
        that such an ETag is no MD5.
        """
        if "md5" in self._hashes:
            return self._hashes["md5"].digest().hex()
        return f"{self._hashes['sha256'].digest()[:16].hex()}-1"


def _algorithm(header: str) -> str:
    algorithm = header.removeprefix(_PREFIX)
    if not header.startswith(_PREFIX) or algorithm not in _SIZES:
        raise S3Error("NotImplemented", f"{header} cannot be checked here; sha256, sha1 and crc32 can.")
    return algorithm


def _decode(value: str, size: int) -> bytes:
    try:
        digest = b64decode(value, validate=True)
    except (Base64Error, ValueError):
        digest = b""
    if len(digest) != size:
        raise S3Error("InvalidRequest", "The checksum is not the base64 text of one.")
    return digest


def _content_md5(request: Request) -> bytes | None:
    value = request.header("content-md5")
    if value is None:
        return None
    try:
        return _decode(value, 16)
    except S3Error:
        raise S3Error("InvalidDigest", "Content-MD5 is not the base64 text of one.") from None


def algorithm_for_copy(request: Request) -> str | None:
    """The algorithm of the checksum that a copy gets; None: the copy keeps the checksums of its source.

    Raises `S3Error` for an algorithm that S3 does not have, and for one that this store lacks.
    """
    asked = request.header("x-amz-checksum-algorithm")
    if asked is None:
        return None
    if asked not in _OF_S3:
        raise S3Error("InvalidRequest", f"x-amz-checksum-algorithm is one of {', '.join(_OF_S3)}.")
    return _algorithm(_PREFIX + asked.lower())


def checksum_of(pieces: Iterable[bytes], algorithm: str) -> str:
    """The base64 text of a checksum. `algorithm`: sha256, sha1 or crc32."""
    digest = _new(algorithm)
    for piece in pieces:
        digest.update(memoryview(piece))
    return b64encode(digest.digest()).decode()


def verify_document(request: Request, signed: Signed, body: bytes) -> None:
    """Check the hashes of a small body in memory. Raises `S3Error` as `Digests` does."""
    digests = Digests(request, signed)
    digests.update([body])
    digests.verify({})
