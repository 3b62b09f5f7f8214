"""Copies inside the store, which computes their SHA-256 and answers it, so that no copy is read back.

obstore neither asks for a checksum nor passes on the store's answer, so these requests are sent without it.

Sources: CopyObject, Amazon S3 API reference (x-amz-checksum-algorithm, x-amz-copy-source-if-match, and errors
with the status 200); "Checking object integrity", Amazon S3 User Guide.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.shared_attempt import SharedAttempt
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable, error_code
from lapel.foundation.storage.sigv4 import encode_path

if TYPE_CHECKING:
    from lapel.foundation.storage.copy_requests import CopyRequests
    from lapel.foundation.storage.presign import Presigner

_CHECKSUM = re.compile(r"<ChecksumSHA256>([A-Za-z0-9+/]{43}=)</ChecksumSHA256>")


class HashedCopies:
    """Copies objects inside a bucket. Connections stay open until `close`."""

    def __init__(self, presigner: Presigner, bucket: str) -> None:
        self._presigner = presigner
        self._bucket = bucket
        self._requests = SharedAttempt(_opened, "import of copies")

    async def copy(self, source: str, target: str, etag: str) -> str | None:
        """Copy the version of an object that has this ETag. Returns the SHA-256 of the copy (hexadecimal).

        None: the copy is made, and the store does not say its SHA-256. Raises ObjectMissing for the source,
        and StoreUnavailable when no copy is made: the source has another ETag, or the store fails.
        """
        requests = await self._requests.get()
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
        status, text = await requests.put(f"{self._presigner.origin}{request.target}", request.headers)
        code = error_code(text)
        if code == "NoSuchKey":
            raise ObjectMissing(source)
        if status != 200 or "<Error>" in text:
            raise StoreUnavailable(f"the store answers {status} ({code or 'no code'}) to a copy")
        return _sha256_in(text)

    def prepare(self) -> None:
        """Begin to import what a copy needs, in a thread. The first copy waits for that, or does the same.

        In the event loop, nothing else would run for 0.09 s.
        """
        self._requests.begin()

    async def close(self) -> None:
        """Close the connections."""
        requests = await self._requests.forget()
        if requests is not None:
            await requests.close()


async def _opened() -> CopyRequests:
    await asyncio.to_thread(import_module, "lapel.foundation.storage.copy_requests")
    from lapel.foundation.storage.copy_requests import CopyRequests  # noqa: PLC0415  # see `prepare`

    return CopyRequests()


def _sha256_in(text: str) -> str | None:
    """The SHA-256 of the whole object; None when the answer has none, or one that is made of several."""
    found = _CHECKSUM.search(text)
    if found is None or "<ChecksumType>COMPOSITE</ChecksumType>" in text:
        return None
    with suppress(ValueError):
        return b64decode(found[1], validate=True).hex()
    return None
