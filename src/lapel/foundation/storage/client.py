"""The object store as the server uses it: copy, hash, delete, list; over any S3, through obstore.

The requests of a completion are sent without obstore if that is possible (`store_requests.py`).

Clients' bytes do not pass through this client: clients use signed links (`links.py`). Large objects are read
in ranges, never in one stream, and hashed in a thread; they are written in parts.

Sources of the limits: "Amazon S3 multipart upload limits", Amazon S3 User Guide; DeleteObjects, Amazon S3
API reference.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore import Bytes
from obstore.exceptions import BaseError
from obstore.store import S3Store

from lapel.foundation.storage.errors import (
    WRONG_KEYS,
    ObjectCut,
    ObjectMissing,
    StoreUnavailable,
    error_code,
)
from lapel.foundation.storage.object_info import ObjectInfo
from lapel.foundation.storage.presign import presigner_for
from lapel.foundation.storage.store_requests import StoreRequests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from obstore import AsyncWritableFile
    from obstore.store import RetryConfig, S3Credential

    from lapel.foundation.storage.credentials import CredentialSource
    from lapel.settings import Settings

# Bytes of one range; few, because many objects are hashed at once. While one range is hashed, the next one is
# read.
_RANGE_BYTES = 1024 * 1024
# Bytes of one range of an object that is passed on, or read back; two ranges are in memory.
LARGE_RANGE_BYTES = 8 * 1024 * 1024
_PAGE = 1000
_QUICK = timedelta(seconds=30)
# A store copies a large object by reading and writing it, which takes minutes on a slow store.
_COPY = timedelta(minutes=15)
# Bytes of one part of an object that is written; two parts are sent at once. S3 takes 10,000 parts of at
# least 5 MiB.
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 2
# Seconds to abort such a write; if the store hangs, its parts stay until the store removes them itself.
_ABORT_SECONDS = 10.0
# S3 deletes at most this many objects in one request.
_DELETE_AT_ONCE = 1000


class ObjectWriter:
    """An object being written; see `ObjectStore.writing`."""

    def __init__(self, file: AsyncWritableFile, key: str) -> None:
        self._file = file
        self._key = key

    async def write(self, content: bytes) -> None:
        """Append bytes; waits while the store is slower. Raises StoreUnavailable when the store fails."""
        with _translated(self._key):
            await self._file.write(content)


class ObjectStore:
    """One bucket. Every method raises StoreUnavailable when the store cannot be used now."""

    def __init__(self, quick: S3Store, patient: S3Store, requests: StoreRequests) -> None:
        self._quick = quick
        self._patient = patient
        self._requests = requests

    async def close(self) -> None:
        """Close the connections that are not obstore's."""
        await self._requests.close()

    async def head(self, key: str) -> ObjectInfo:
        """Size and time of an object. Raises ObjectMissing."""
        with suppress(StoreUnavailable):
            return await self._requests.head(key)
        # obstore tries again, and says why the store fails.
        with _translated(key):
            found = await obstore.head_async(self._quick, key)
        return ObjectInfo(found["path"], found["size"], found["last_modified"], found["e_tag"])

    async def copy(self, source: str, target: str) -> None:
        """Copy inside the bucket, type and metadata included. Raises ObjectMissing for the source."""
        with _translated(source):
            await obstore.copy_async(self._patient, source, target)

    async def copy_hashed(self, source: str, target: str, etag: str) -> str | None:
        """Copy the version of an object that has this ETag inside the bucket, type and metadata included.

        Returns the SHA-256 (hexadecimal) that the store has computed of the copy; None: it tells none, so
        read it back. Raises ObjectMissing for the source. After StoreUnavailable (a PUT came meanwhile, the
        store fails, or it does not take such a request) the store may still be making this copy, so another
        one must have another key.
        """
        return await self._requests.copy(source, target, etag)

    async def put(self, key: str, content: bytes) -> None:
        """Write a small object."""
        with _translated(key):
            await obstore.put_async(self._quick, key, content, use_multipart=False)

    @asynccontextmanager
    async def writing(self, key: str) -> AsyncGenerator[ObjectWriter]:
        """Write an object piece by piece, of any size, in bounded memory.

        When the block ends, the complete object exists. A block that raises or is cancelled leaves nothing.
        If the process is killed, parts remain that no listing shows; the store removes them later.
        """
        with _translated(key):
            file = obstore.open_writer_async(
                self._patient,
                key,
                buffer_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
            await file.__aenter__()
        try:
            yield ObjectWriter(file, key)
        except BaseException as error:
            with suppress(BaseError, OSError):  # the store may be away, and the block broken because of it
                async with asyncio.timeout(_ABORT_SECONDS):
                    # The stub has no types for these arguments, which every context manager has.
                    await file.__aexit__(  # pyright: ignore[reportUnknownMemberType]
                        type(error), error, error.__traceback__
                    )
            raise
        with _translated(key):
            await file.close()

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer at the object's end. Raises ObjectMissing."""
        with _translated(key):
            return bytes(await obstore.get_range_async(self._quick, key, start=start, length=length))

    async def sha256_of(self, key: str, *, range_bytes: int = _RANGE_BYTES) -> tuple[int, str]:
        """Size in bytes and SHA-256 (hexadecimal) of the bytes that the store returns, range by range.

        While one range is hashed, the next one is read. Raises ObjectMissing.
        """
        size, first = await self._beginning(key, range_bytes)
        digest = hashlib.sha256()
        coming = self._read(key, range_bytes, size, range_bytes)
        try:
            await asyncio.to_thread(digest.update, first)
            for start in range(range_bytes, size, range_bytes):
                chunk = await coming
                coming = self._read(key, start + range_bytes, size, range_bytes)
                await asyncio.to_thread(digest.update, chunk)
        finally:
            coming.cancel()
        return size, digest.hexdigest()

    async def _beginning(self, key: str, range_bytes: int) -> tuple[int, Bytes]:
        """An object's size, and its first range, in one request."""
        with _translated(key):
            try:
                found = await obstore.get_async(self._quick, key, options={"range": (0, range_bytes)})
                return found.meta["size"], await found.bytes_async()
            except BaseError as error:
                if error_code(str(error)) == "InvalidRange":  # an empty object has no range
                    return 0, Bytes(b"")
                raise

    async def pieces(self, key: str, size: int) -> AsyncGenerator[bytes]:
        """An object of `size` bytes in ranges of 8 MiB. While one range is used, the next one is read.

        Raises ObjectMissing, also when the object is deleted meanwhile, and ObjectCut when it is shorter.
        """
        coming = self._read(key, 0, size, LARGE_RANGE_BYTES)
        try:
            for start in range(0, size, LARGE_RANGE_BYTES):
                chunk = await coming
                coming = self._read(key, start + LARGE_RANGE_BYTES, size, LARGE_RANGE_BYTES)
                yield chunk
        finally:
            coming.cancel()

    def _read(self, key: str, start: int, size: int, range_bytes: int) -> asyncio.Task[bytes]:
        """A task that reads the next range; beyond the end it returns no bytes."""

        async def read() -> bytes:
            length = min(range_bytes, size - start)
            if length <= 0:
                return b""
            chunk = await self.get_range(key, start, length)
            if len(chunk) != length:
                raise ObjectCut(f"the store returned {len(chunk)} of {length} bytes of {key}")
            return chunk

        reading = asyncio.create_task(read())
        # The fault of a range that is not used any more is of no interest.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading

    async def delete(self, key: str) -> None:
        """Delete an object; a missing object is not an error."""
        with suppress(StoreUnavailable):
            await self._requests.delete(key)
            return
        try:
            with _translated(key):
                await obstore.delete_async(self._quick, key)
        except ObjectMissing:
            return

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete objects, a thousand a request; missing objects are not an error."""
        if len(keys) == 1:  # a smaller request, and no thread
            await self.delete(keys[0])
            return
        for at in range(0, len(keys), _DELETE_AT_ONCE):
            part = list(keys[at : at + _DELETE_AT_ONCE])
            try:
                with _translated(part[0]):
                    await obstore.delete_async(self._quick, part)
            except ObjectMissing:
                for key in part:
                    await self.delete(key)

    async def pages(self, prefix: str, *, after: str | None = None) -> AsyncGenerator[list[ObjectInfo]]:
        """All objects whose names begin with `prefix`, in the order of their names, a thousand at a time.

        `after`: the listing begins after this name. Changes between two pages may or may not show.
        """
        # The stub has no types for the Arrow form of the answer, which is not requested here.
        stream = obstore.list(  # pyright: ignore[reportUnknownMemberType]
            self._quick, prefix=prefix or None, offset=after, chunk_size=_PAGE
        )
        while True:
            try:
                with _translated(prefix):
                    async with asyncio.timeout(_QUICK.total_seconds()):
                        found = await anext(stream)
            except StopAsyncIteration:
                return
            yield [ObjectInfo(each["path"], each["size"], each["last_modified"]) for each in found]

    async def list(self, prefix: str) -> AsyncGenerator[ObjectInfo]:
        """All objects whose names begin with `prefix`, one by one."""
        async for page in self.pages(prefix):
            for each in page:
                yield each


@contextmanager
def _translated(key: str) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error_code(str(error)) == "NoSuchBucket":  # a wrong setting: no object is missing
            raise StoreUnavailable("the store has no such bucket") from error
        raise ObjectMissing(key) from error
    except (BaseError, OSError, TimeoutError) as error:
        code = error_code(str(error))
        if code in WRONG_KEYS:
            raise StoreUnavailable(f"{WRONG_KEYS[code]} ({code})") from error
        reason, _, _ = str(error).partition("\n")  # empty for a time-out
        if code == "InvalidRange":
            raise ObjectCut(f"{key} ends before the range that was asked for") from error
        raise StoreUnavailable(f"{type(error).__name__}: {reason}") from error


def open_store(settings: Settings, credentials: CredentialSource) -> ObjectStore:
    """The store of this installation. It sends no request until it is used."""

    def current() -> S3Credential:
        keys = credentials.current()
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": keys.expires_at,
        }

    def client(limit: timedelta) -> S3Store:
        retries: RetryConfig = {
            "max_retries": 2,
            "retry_timeout": timedelta(seconds=5),
            "backoff": {
                "init_backoff": timedelta(milliseconds=50),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        }
        return S3Store(
            settings.s3_bucket,
            config={
                "endpoint": _endpoint(settings),
                "region": settings.s3_region,
                "virtual_hosted_style_request": settings.s3_addressing == "virtual",
            },
            client_options={"allow_http": True, "timeout": limit, "connect_timeout": timedelta(seconds=3)},
            retry_config=retries,
            credential_provider=current,
        )

    requests = StoreRequests(presigner_for(settings, credentials), settings.s3_bucket)
    return ObjectStore(client(_QUICK), client(_COPY), requests)


def _endpoint(settings: Settings) -> str:
    """The endpoint as obstore expects it: for virtual addressing, with the bucket's own host."""
    endpoint = settings.s3_endpoint or ""
    if settings.s3_addressing != "virtual":
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{settings.s3_bucket}.{host}"
