"""Large objects as streams, for threads: one GET into memory of the caller's, one PUT from it.

`client.py` serves the event loop, and gives new memory with each answer. Here the bytes pass through memory
that is used again, and nothing copies them on their way, because for large objects that is most of the work.

docs/decisions/0031 says why this is not obstore.

Sources: GetObject and PutObject, Amazon S3 API reference; "Checking object integrity", Amazon S3 User Guide.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.errors import (
    WRONG_KEYS,
    ObjectCut,
    ObjectDiffers,
    ObjectMissing,
    StoreUnavailable,
    error_code,
)
from lapel.foundation.storage.presign import checksum_of, presigner_for

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from lapel.foundation.storage.credentials import CredentialSource
    from lapel.foundation.storage.presign import Presigner
    from lapel.settings import Settings

_STALL = 30.0  # seconds for which the store may neither take nor give a byte
_PATIENCE = 300.0  # seconds until the store has all bytes of an object on its disk
_OTHER_BYTES = {"BadDigest", "XAmzContentSHA256Mismatch"}
_MOST_OF_AN_ERROR = 64 * 1024


class _Exchange:
    """One request on a connection of its own, closed with the block."""

    def __init__(self, presigner: Presigner, key: str) -> None:
        parts = urlsplit(presigner.origin)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            self._connection: HTTPConnection = HTTPSConnection(host, port, timeout=_STALL, context=_trust())
        else:
            self._connection = HTTPConnection(host, port, timeout=_STALL)
        self._key = key

    def close(self) -> None:
        """End the connection, also for a thread that waits for it. What is not complete is not stored."""
        with suppress(OSError, AttributeError):  # not connected
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, method: str, target: str, headers: dict[str, str]) -> None:
        self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def _answer(self) -> HTTPResponse:
        """The answer, if it is 200. Raises ObjectMissing and ObjectDiffers for what the store says."""
        answer = self._connection.getresponse()
        if answer.status == 200:
            return answer
        code = error_code(answer.read(_MOST_OF_AN_ERROR).decode("utf-8", "replace")) or "no code"
        if code == "NoSuchKey":
            raise ObjectMissing(self._key)
        if code in _OTHER_BYTES:
            raise ObjectDiffers(f"the store got other bytes of {self._key} than their SHA-256 says")
        if code in WRONG_KEYS:
            raise StoreUnavailable(f"{WRONG_KEYS[code]} ({code})")
        raise StoreUnavailable(f"the store answers {answer.status} ({code}) for {self._key}")


class ObjectReader(_Exchange):
    """An object of `size` bytes that is read from its begin to its end."""

    def __init__(self, presigner: Presigner, key: str) -> None:
        super().__init__(presigner, key)
        target, headers = presigner.request("GET", key, now=SystemClock().now())
        try:
            with _translated(key):
                self._begin("GET", target, headers)
                self._body = self._answer()
            self.size = self._missing = _length(self._body, key)
        except BaseException:
            self.close()
            raise

    def read_into(self, buffer: memoryview) -> int:
        """Fill the buffer, or as much of it as the rest of the object fills; returns the number of bytes.

        Raises ObjectCut when the store ends too early, and StoreUnavailable when it fails.
        """
        filled, wanted = 0, min(len(buffer), self._missing)
        with _translated(self._key):
            while filled < wanted:
                got = self._body.readinto(buffer[filled:wanted])
                if not got:
                    raise ObjectCut(f"the store ended {self._key} before its {self.size} bytes")
                filled += got
        self._missing -= filled
        return filled


class ObjectUpload(_Exchange):
    """An object that is written from its begin to its end. Without its last byte it is never visible."""

    def __init__(self, presigner: Presigner, key: str, size: int, sha256: str) -> None:
        super().__init__(presigner, key)
        self._checksum = checksum_of(sha256)
        target, headers = presigner.request("PUT", key, now=SystemClock().now(), sha256=sha256)
        try:
            with _translated(key):
                self._begin("PUT", target, headers | {"content-length": str(size)})
        except BaseException:
            self.close()
            raise

    def send(self, content: bytes | bytearray | memoryview) -> None:
        """Send the next bytes; waits while the store is slower. Raises StoreUnavailable."""
        try:
            self._connection.send(content)
        except OSError as error:
            with _translated(self._key):
                self._answer()  # the store may have said why
            raise StoreUnavailable(f"the store hangs up before the end of {self._key}: {error}") from error

    def finish(self) -> bool:
        """Wait until the object is stored, once all bytes are sent.

        Returns whether the store has compared the SHA-256 of what it stored: if not, read the object back.
        Raises ObjectDiffers when the store got other bytes, and StoreUnavailable when it fails.
        """
        with _translated(self._key):
            self._connection.sock.settimeout(_PATIENCE)
            answer = self._answer()
            answer.read()
        return answer.getheader("x-amz-checksum-sha256") == self._checksum


class ObjectStreams:
    """Opens streams of the objects of one bucket. Every method blocks, and may be called by any thread."""

    def __init__(self, presigner: Presigner) -> None:
        self._presigner = presigner

    def read(self, key: str) -> ObjectReader:
        """Begin to read an object. Raises ObjectMissing, and StoreUnavailable when the store fails."""
        return ObjectReader(self._presigner, key)

    def write(self, key: str, size: int, sha256: str) -> ObjectUpload:
        """Begin to write an object of `size` bytes whose SHA-256 (hexadecimal) is known; S3 takes 5 GiB.

        The signature covers the bytes, by their hash. Raises StoreUnavailable.
        """
        return ObjectUpload(self._presigner, key, size, sha256)


@cache
def _trust() -> ssl.SSLContext:
    """The authorities of the system: to read them takes longer than a small request."""
    return ssl.create_default_context()


def _length(answer: HTTPResponse, key: str) -> int:
    if answer.length is None:
        raise StoreUnavailable(f"the store does not say how long {key} is")
    return answer.length


@contextmanager
def _translated(key: str) -> Generator[None]:
    try:
        yield
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(f"{type(error).__name__} at {key}: {error}") from error


def streams_for(settings: Settings, credentials: CredentialSource) -> ObjectStreams:
    """The streams of this installation, from the endpoint that its own processes use."""
    return ObjectStreams(presigner_for(settings, credentials))
