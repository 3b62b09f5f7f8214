"""Copies inside the store, which computes their SHA-256 and answers it, so that no copy is read back.

obstore neither asks for a checksum nor passes on the store's answer, so these requests are sent without it.

Sources: CopyObject, Amazon S3 API reference (x-amz-checksum-algorithm, x-amz-copy-source-if-match, and errors
with the status 200); "Checking object integrity", Amazon S3 User Guide.
"""

from __future__ import annotations

import re
from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable, error_code
from lapel.foundation.storage.sigv4 import encode_path

if TYPE_CHECKING:
    import aiohttp

    from lapel.foundation.storage.presign import Presigner

_CHECKSUM = re.compile(r"<ChecksumSHA256>([A-Za-z0-9+/]{43}=)</ChecksumSHA256>")
_CONNECT = 3.0  # seconds
# A store copies a large object by reading and writing it, which takes minutes on a slow store.
_COPY = 900.0
_MOST_OF_AN_ANSWER = 64 * 1024


class HashedCopies:
    """Copies objects inside a bucket. Connections stay open until `close`."""

    def __init__(self, presigner: Presigner, bucket: str) -> None:
        self._presigner = presigner
        self._bucket = bucket
        self._session: aiohttp.ClientSession | None = None

    async def copy(self, source: str, target: str, etag: str) -> str | None:
        """Copy the version of an object that has this ETag. Returns the SHA-256 of the copy (hexadecimal).

        None: the copy is made, and the store does not say its SHA-256. Raises ObjectMissing for the source,
        and StoreUnavailable when no copy is made: the source has another ETag, or the store fails.
        """
        import aiohttp  # noqa: PLC0415  # imports much

        request = self._presigner.request(
            "PUT",
            target,
            now=SystemClock().now(),
            more={
                "x-amz-checksum-algorithm": "SHA256",
                "x-amz-copy-source": encode_path(f"{self._bucket}/{source}".encode()),
                "x-amz-copy-source-if-match": etag,
            },
        )
        try:
            answer = await self._send(f"{self._presigner.origin}{request.target}", request.headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{type(error).__name__} at a copy: {error}") from error
        status, text = answer
        code = error_code(text)
        if code == "NoSuchKey":
            raise ObjectMissing(source)
        if status != 200 or "<Error>" in text:
            raise StoreUnavailable(f"the store answers {status} ({code or 'no code'}) to a copy")
        return _sha256_in(text)

    async def _send(self, url: str, headers: dict[str, str]) -> tuple[int, str]:
        from yarl import URL  # noqa: PLC0415  # imports much

        session = self._session or self._open()
        asked = session.put(URL(url, encoded=True), headers=headers, skip_auto_headers=("Content-Type",))
        async with asked as answer:
            body = await answer.content.read(_MOST_OF_AN_ANSWER)
            return answer.status, body.decode("utf-8", "replace")

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415  # imports much

        limits = aiohttp.ClientTimeout(total=_COPY, sock_connect=_CONNECT)
        # Proxies of the environment count, as for all other requests to the store.
        self._session = aiohttp.ClientSession(timeout=limits, trust_env=True)
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _sha256_in(text: str) -> str | None:
    """The SHA-256 of the whole object; None when the answer has none, or one that is made of several."""
    found = _CHECKSUM.search(text)
    if found is None or "<ChecksumType>COMPOSITE</ChecksumType>" in text:
        return None
    with suppress(ValueError):
        return b64decode(found[1], validate=True).hex()
    return None
