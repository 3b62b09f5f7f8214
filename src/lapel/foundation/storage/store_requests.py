"""The requests of a completion: HEAD, a copy whose SHA-256 the store computes and answers, so that no copy is
read back, and DELETE.

obstore sends each request in a thread of its own, and neither asks for a checksum nor passes on the store's
answer. So these requests are sent without it. What they cannot do, obstore does; see client.py.

Sources: HeadObject, CopyObject (x-amz-checksum-algorithm, x-amz-copy-source-if-match, and errors with the
status 200) and DeleteObject, Amazon S3 API reference; "Checking object integrity", Amazon S3 User Guide.
"""

from __future__ import annotations

import re
import time
from base64 import b64decode
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable, error_code
from lapel.foundation.storage.object_info import ObjectInfo
from lapel.foundation.storage.sigv4 import encode_path
from lapel.foundation.storage.store_connections import StoreConnections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.storage.presign import Presigner
    from lapel.foundation.storage.store_connections import StoreAnswer

_QUICK = 10.0  # seconds
# A store copies a large object by reading and writing it, which takes minutes on a slow store.
_COPY = 900.0
# After a request without an answer, obstore has all requests for so many seconds: it may reach the store at
# another address, and no request pays for both time limits.
_REST = 5.0
_NO_MORE: Mapping[str, str] = {}
_CHECKSUM = re.compile(r"<ChecksumSHA256>([A-Za-z0-9+/]{43}=)</ChecksumSHA256>")


class StoreRequests:
    """Requests for the objects of one bucket. Connections stay open until `close`."""

    def __init__(self, presigner: Presigner, bucket: str) -> None:
        self._presigner = presigner
        self._bucket = bucket
        self._rests_until = 0.0  # monotonic
        self._connections = None if _behind_proxy(presigner.origin) else StoreConnections(presigner.origin)

    async def head(self, key: str) -> ObjectInfo:
        """Size, time and ETag of an object. Raises ObjectMissing.

        Raises StoreUnavailable for every answer that is neither.
        """
        answer = await self._send("HEAD", key, _NO_MORE, _QUICK)
        if answer.status == 404:
            raise ObjectMissing(key)
        if answer.status != 200:
            raise StoreUnavailable(f"the store answers {answer.status} to a HEAD")
        try:
            size = int(answer.headers["content-length"])
            modified = parsedate_to_datetime(answer.headers["last-modified"])
        except (KeyError, ValueError) as error:
            raise StoreUnavailable(f"the store answers a HEAD without a valid {error}") from error
        if modified.tzinfo is None:
            raise StoreUnavailable("the store answers a HEAD with a time without its zone")
        return ObjectInfo(key, size, modified, answer.headers.get("etag"))

    async def copy(self, source: str, target: str, etag: str) -> str | None:
        """Copy the version of an object that has this ETag. Returns the SHA-256 of the copy (hexadecimal).

        None: the copy is made, and the store does not say its SHA-256. Raises ObjectMissing for the source,
        and StoreUnavailable when no copy is made: the source has another ETag, or the store fails.
        """
        more = {
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-copy-source": encode_path(f"{self._bucket}/{source}".encode()),
            "x-amz-copy-source-if-match": etag,
        }
        answer = await self._send("PUT", target, more, _COPY)
        text = answer.body.decode("utf-8", "replace")
        code = error_code(text)
        if code == "NoSuchKey":
            raise ObjectMissing(source)
        if answer.status != 200 or "<CopyObjectResult" not in text or "<Error" in text:
            raise StoreUnavailable(f"the store answers {answer.status} ({code or 'no code'}) to a copy")
        return _sha256_in(text)

    async def delete(self, key: str) -> None:
        """Delete an object; a missing object is not an error.

        Raises StoreUnavailable for every answer that does not say so.
        """
        answer = await self._send("DELETE", key, _NO_MORE, _QUICK)
        if answer.status != 204:
            raise StoreUnavailable(f"the store answers {answer.status} to a DELETE")

    async def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            await self._connections.close()

    async def _send(self, method: str, key: str, more: Mapping[str, str], seconds: float) -> StoreAnswer:
        if self._connections is None:
            raise StoreUnavailable("a proxy is between this process and the store")
        if time.monotonic() < self._rests_until:
            raise StoreUnavailable("the store did not answer a moment ago")
        request = self._presigner.request(method, key, now=SystemClock().now(), more=more)
        try:
            return await self._connections.send(method, request.target, request.headers, seconds=seconds)
        except StoreUnavailable:
            self._rests_until = time.monotonic() + _REST
            raise


def _behind_proxy(origin: str) -> bool:
    """Whether the environment has a proxy for the store. obstore uses it, and these requests do not."""
    scheme, _, authority = origin.partition("://")
    proxies = getproxies()
    return (scheme in proxies or "all" in proxies) and not proxy_bypass(authority)


def _sha256_in(text: str) -> str | None:
    """The SHA-256 of the whole object; None when the answer has none, or one that is made of several."""
    found = _CHECKSUM.search(text)
    if found is None or "<ChecksumType>COMPOSITE</ChecksumType>" in text:
        return None
    with suppress(ValueError):
        return b64decode(found[1], validate=True).hex()
    return None
