"""The operator's access to the bucket: make it, set its CORS rules, download and upload objects.

Requests are signed in their headers with AWS Signature Version 4, because signed links cover objects only.
Object bodies go directly between a file and the socket.

Source: Amazon S3 API reference.

docs/decisions/0019 says why commands do not use the server's client.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import http.client
import os
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from lapel.cli.shared.faults import CommandError
from lapel.foundation.core.errors import words_of
from lapel.foundation.ports import credential_source
from lapel.foundation.storage.errors import WRONG_KEYS, StoreUnavailable, error_code
from lapel.foundation.storage.sigv4 import authorization, encode_path, signing_key

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

_CHUNK = 1 << 20
# Calls that transfer no object wait so long for an answer. After that, `lapel init` reports that the store
# does not answer.
_SMALL_CALL_SECONDS = 15.0
# Errors that only an open file raises, never a connection.
_OF_FILES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_CORS = b"""<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>\
<AllowedMethod>GET</AllowedMethod><AllowedMethod>HEAD</AllowedMethod><AllowedMethod>PUT</AllowedMethod>\
<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><ExposeHeader>Content-Range</ExposeHeader>\
<ExposeHeader>Accept-Ranges</ExposeHeader><MaxAgeSeconds>3600</MaxAgeSeconds></CORSRule></CORSConfiguration>"""


@dataclass(frozen=True, slots=True)
class BucketAnswer:
    """An answer of the store: status, headers with lower-case names, and at most 1 MiB of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Copied:
    """A copied object: size in bytes, SHA-256 in hexadecimal, content type."""

    size: int
    sha256: str
    content_type: str


class BucketClient:
    """Blocking calls to one bucket; call them in threads.

    Each call raises CommandError when the store refuses the call, and StoreUnavailable when the store does
    not answer or breaks its answer off, or when there are no valid credentials.
    """

    def __init__(self, settings: Settings, clock: Clock, *, patience: float = 60.0) -> None:
        """`patience`: the seconds to wait for a connection, and for each part of an answer."""
        self._patience = patience
        endpoint = urlsplit(str(settings.s3_endpoint))
        virtual = settings.s3_addressing == "virtual"
        self._host = f"{settings.s3_bucket}.{endpoint.netloc}" if virtual else endpoint.netloc
        self._root = endpoint.path.rstrip("/") + ("" if virtual else f"/{settings.s3_bucket}")
        self._secure = endpoint.scheme == "https"
        self._region = settings.s3_region
        self._clock = clock
        self._credentials = credential_source(settings, clock)

    def exists(self) -> bool:
        """Whether the bucket exists. Raises CommandError when these credentials may not use it (403)."""
        answer = self._call("HEAD", "")
        if answer.status == 404:
            return False
        if answer.status in (400, 403):  # the answer to HEAD has no body, so it does not say why
            answer = self._call("GET", "", query="list-type=2&max-keys=0")
            if _code(answer) in WRONG_KEYS:
                return _checked(answer, "look for the bucket").status == 200
        if answer.status == 403:
            raise CommandError(
                "the bucket belongs to another account, or these credentials may not list it; choose another "
                "LAPEL_S3_BUCKET or allow s3:ListBucket."
            )
        return _checked(answer, "look for the bucket").status == 200

    def make(self) -> None:
        """Makes the bucket in the region of the settings; does nothing if this account owns it already.

        Raises CommandError when the store refuses.
        """
        body = b""
        if self._region != "us-east-1":
            body = (
                f"<CreateBucketConfiguration><LocationConstraint>{self._region}</LocationConstraint>"
                "</CreateBucketConfiguration>"
            ).encode()
        answer = self._call("PUT", "", body=body)
        if answer.status != 409 or b"BucketAlreadyOwnedByYou" not in answer.body:
            _checked(answer, "make the bucket")

    def open_to_browsers(self) -> None:
        """Sets CORS rules for all origins: a signed link itself is the permission, so any page may use it.

        Raises CommandError when the store refuses.
        """
        _checked(self._call("PUT", "", query="cors=", body=_CORS), "set the bucket's CORS rules")

    def download(self, key: str, target: Path) -> Copied | None:
        """Writes the object to `target` and syncs the file. Returns None if the store has no such object.

        Raises CommandError when the store refuses or the connection breaks off.
        """
        with self._connected() as connection:
            self._send(connection, "GET", f"/{key}", "", b"", {})
            response = connection.getresponse()
            if response.status == 404:
                return None
            if response.status != 200:
                _checked(_answer(response), f"read {key}")
            digest, size = hashlib.sha256(), 0
            with target.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            if response.length:
                raise CommandError(
                    f"the connection to the store broke while {key} was read; run the command again."
                )
            return Copied(
                size, digest.hexdigest(), response.getheader("content-type", "application/octet-stream")
            )

    def upload(self, key: str, source: Path, expected: Copied) -> None:
        """Uploads the file as the object `key`. The store refuses a file with another SHA-256.

        Raises CommandError when the store refuses.
        """
        with self._connected() as connection:
            with source.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._send(
                    connection, "PUT", f"/{key}", "", file,
                    {"content-type": expected.content_type, "content-length": str(size)}, expected.sha256,
                )  # fmt: skip
            _checked(_answer(connection.getresponse()), f"write {key}")

    def _call(self, method: str, path: str, *, query: str = "", body: bytes = b"") -> BucketAnswer:
        with self._connected() as connection:
            headers = {"content-length": str(len(body))} if method == "PUT" else {}
            self._send(connection, method, path, query, body, headers)
            return _answer(connection.getresponse())

    @contextmanager
    def _connected(self) -> Generator[http.client.HTTPConnection]:
        """A connection for one call. Raises StoreUnavailable for errors of the network.

        An OSError of a file that the call reads or writes is raised unchanged.
        """
        connection = (
            http.client.HTTPSConnection(
                self._host, timeout=self._patience, context=ssl.create_default_context()
            )
            if self._secure
            else http.client.HTTPConnection(self._host, timeout=self._patience)
        )
        try:
            yield connection
        except http.client.HTTPException as fault:
            raise StoreUnavailable(f"{self._host} {_broken_off(fault)}") from fault
        except OSError as fault:
            if fault.filename is not None or fault.errno in _OF_FILES:
                raise
            raise StoreUnavailable(f"{self._host}: {words_of(fault)}") from fault
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, query: str,
        body: bytes | IO[bytes], headers: dict[str, str], sha256: str | None = None,
    ) -> None:  # fmt: skip
        """Signs and sends one request. `query` is in canonical form, `headers` have lower-case names."""
        encoded = encode_path(f"{self._root}{path}".encode()) or "/"
        digest = sha256 or hashlib.sha256(body if isinstance(body, bytes) else b"").hexdigest()
        signed = self._signed(method, encoded, query, digest, headers)
        target = f"{encoded}?{query}" if query else encoded
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in signed.items():
            connection.putheader(name, value)
        connection.endheaders()
        if isinstance(body, bytes):
            connection.send(body)
        else:
            while chunk := body.read(_CHUNK):
                connection.send(chunk)

    def _signed(
        self, method: str, path: str, query: str, digest: str, headers: dict[str, str]
    ) -> dict[str, str]:
        keys = self._credentials.current()
        moment = _stamp(self._clock.now())
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        signed = {**headers, "host": self._host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        if keys.session_token is not None:
            signed["x-amz-security-token"] = keys.session_token
        signed["authorization"] = authorization(
            method, path, query, signed,
            access_key_id=keys.access_key_id,
            key=signing_key(keys.secret_access_key, moment[:8], self._region),
            timestamp=moment,
            scope=scope,
        )  # fmt: skip
        return signed


async def prepare_bucket(ports: Ports) -> tuple[bool, str]:
    """Makes the bucket unless it exists, and sets its CORS rules.

    Returns whether the bucket was made now, and the state of the CORS rules: `built in` or `set`. Raises
    CommandError when the store refuses, and StoreUnavailable when there are no valid credentials.
    """
    client = BucketClient(ports.settings, ports.clock, patience=_SMALL_CALL_SECONDS)
    made = not await asyncio.to_thread(client.exists)
    if made:
        await asyncio.to_thread(client.make)
    if ports.settings.uses_embedded_store:
        return made, "built in"
    await asyncio.to_thread(client.open_to_browsers)
    return made, "set"


def _broken_off(fault: http.client.HTTPException) -> str:
    match fault:
        case http.client.RemoteDisconnected():
            return "ended the connection without an answer"
        case http.client.IncompleteRead():
            return "broke off its answer"
        case _:
            return "answers, but not with HTTP. Check LAPEL_S3_ENDPOINT"


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%SZ}"


def _answer(response: http.client.HTTPResponse) -> BucketAnswer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return BucketAnswer(response.status, headers, response.read(1 << 20))


def _code(answer: BucketAnswer) -> str:
    """The error code in the answer's body; empty when it has none."""
    return error_code(answer.body.decode(errors="replace"))


def _checked(answer: BucketAnswer, what: str) -> BucketAnswer:
    if answer.status >= 300:
        code = _code(answer) or "no code"
        if code in WRONG_KEYS:
            raise CommandError(f"{WRONG_KEYS[code]} ({answer.status} {code}).")
        raise CommandError(
            f"the store refused to {what}: {answer.status} {code}. Check the LAPEL_S3_* settings."
        )
    return answer
