"""Receiving bodies: large ones into a file, small ones into memory. A body that stalls is refused.

Source for the lengths: PutObject, Amazon S3 API reference, and `chunked.py`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import ParamSpec

from lapel.embedded.s3.files.durable import sync_file
from lapel.embedded.s3.files.folder import Folder
from lapel.embedded.s3.files.objects import FileWriter
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.checksums import Digests, verify_document
from lapel.embedded.s3.protocol.chunked import ChunkedDecoder
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error, SenderGone

P = ParamSpec("P")

MAX_DOCUMENT = 2 << 20
_BATCH = 1 << 20  # bytes handed to a thread at once
_MOST_WAITING = 32 << 20  # bytes of all batches that are being filled; with more, they are handed over sooner
_SMALL_BATCH = 64 << 10
_PER_PIECE = 64  # bytes that a piece takes beside its content: a client may send pieces of a few bytes
_LARGE = 8 << 20  # bytes of a body that is read without the event loop, if its client is fast
_FAST = 1 << 18  # bytes that a fast client sends within a slice of a thread
_SYNC = 64 << 20  # bytes after which the disk begins to write them, so that it is soon done at the end


async def receive_pieces(call: SignedCall) -> AsyncIterator[bytes]:
    """Yield the body as it comes.

    Raises `SenderGone` when the client hangs up, `S3Error` when nothing comes for `call.stall` seconds.
    """
    more = True
    while more:
        try:
            async with asyncio.timeout(call.stall):
                message = await call.request.receive()
        except TimeoutError:
            raise S3Error("RequestTimeout", "The body stalled.", ((b"connection", b"close"),)) from None
        if message["type"] == "http.disconnect":
            raise SenderGone
        if body := message.get("body", b""):
            yield body
        more = message.get("more_body", False)


async def read_document(call: SignedCall) -> bytes:
    """Read a small body (an XML document) whole, and check its hashes.

    Raises `S3Error` when the body is too large, stops coming or has another hash; `SenderGone` when the
    client hangs up.
    """
    pieces: list[bytes] = []
    size = 0
    async for piece in receive_pieces(call):
        size += len(piece)
        if size > MAX_DOCUMENT:
            raise S3Error("EntityTooLarge", f"A document has at most {MAX_DOCUMENT} bytes.")
        pieces.append(piece)
    body = b"".join(pieces)
    verify_document(call.request, call.signed, body)
    return body


def declared_length(request: Request, signed: Signed) -> int | None:
    """Return the declared length of the object in bytes, or None if the request declares none.

    Raises `S3Error` for a length that is not a number, and for a streamed body without a length.
    """
    if signed.payload.startswith("STREAMING-"):
        text = request.header("x-amz-decoded-content-length")
        if text is None:
            raise S3Error("MissingContentLength", "x-amz-decoded-content-length is missing.")
    else:
        text = request.header("content-length")
        if text is None:
            return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise S3Error("InvalidArgument", "The length is not a number.")
    return int(text)


class _Behind:
    """Runs one call at a time in a thread while its caller goes on. No fault is lost: the next `begin`, or
    `end`, raises it. The kernel tells of a write that failed only once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._running: asyncio.Task[None] | None = None

    async def begin(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Wait for the call before, and begin the next one."""
        await self.end()
        self._running = asyncio.create_task(self._folder.in_thread(function, *args, **kwargs))

    async def end(self) -> None:
        """Wait for the call that runs."""
        running, self._running = self._running, None
        if running is not None:
            await running


class IncomingBody:
    """One body on its way into one file; writes and hashes in a thread while the next bytes come in.

    Raises `S3Error` when the announced length or hashes are not valid, or the length is over the limit.
    """

    def __init__(self, call: SignedCall) -> None:
        request, signed = call.request, call.signed
        self._call = call
        self._folder = call.folder
        self.digests = Digests(request, signed)
        self._decoder = ChunkedDecoder(signed) if signed.payload.startswith("STREAMING-") else None
        self._expected = declared_length(request, signed)
        if (self._expected or 0) > call.largest:
            raise _too_large(call.largest)
        self.size = 0
        self._buffers: list[memoryview] | None = None

    async def receive(self) -> FileWriter:
        """Take the whole body; return the unfinished file. Leaves nothing behind when it raises.

        Raises `S3Error` when the disk is nearly full, or the body stops coming or has another length than
        announced; `SenderGone` when the client hangs up.
        """
        self._folder.require_space(self._expected or 0)
        writer = await self._folder.in_thread(FileWriter, self._call.bucket.temporary)
        try:
            await self._fill(writer)
        except BaseException:
            await self._folder.in_thread(writer.close)
            raise
        return writer

    async def _fill(self, writer: FileWriter) -> None:
        synced = 0
        consuming, syncing = _Behind(self._folder), _Behind(self._folder)
        try:
            async with aclosing(self._batches(consuming)) as batches:
                async for batch in batches:
                    await consuming.begin(self._consume, writer, batch)
                    if self.size - synced >= _SYNC:
                        synced = self.size
                        await syncing.begin(sync_file, writer.fd)
        finally:
            try:
                await consuming.end()
            finally:
                self._give_back()
                await syncing.end()
        if self._decoder is not None:
            self._decoder.finish()
        if self._expected is not None and self.size != self._expected:
            raise S3Error("IncompleteBody", "The length of the body differs from the announced length.")

    async def _batches(self, consuming: _Behind) -> AsyncGenerator[Sequence[bytes | memoryview]]:
        """Yield the body in batches. Each is consumed before the second next one is asked for."""
        batch: list[bytes] = []
        waiting, folder = 0, self._folder
        try:
            async for piece in receive_pieces(self._call):
                batch.append(piece)
                taken = len(piece) + _PER_PIECE
                waiting += taken
                folder.waiting += taken
                # A client may send most of a batch, and the rest as slowly as it may.
                if waiting < (_BATCH if folder.waiting <= _MOST_WAITING else _SMALL_BATCH):
                    continue
                folder.waiting -= waiting
                full, batch, waiting = batch, [], 0
                yield full
                if self._decoder is None and (self._expected or 0) >= _LARGE:
                    async for part in self._read_directly(consuming):
                        yield [part]
        finally:
            folder.waiting -= waiting
        if batch:
            yield batch

    async def _read_directly(self, consuming: _Behind) -> AsyncIterator[memoryview]:
        """Yield parts of the body as long as the client sends them fast."""
        self._buffers = pair = self._folder.buffers.take()
        if pair is None:
            return
        got = _FAST
        while got >= _FAST:
            pair.reverse()
            got = await self._folder.move(partial(self._call.request.receive_into, pair[0]))
            if got:
                yield pair[0][:got]
        await consuming.end()
        self._give_back()

    def _give_back(self) -> None:
        """Let others have the buffers; nothing reads or fills them any more."""
        pair, self._buffers = self._buffers, None
        if pair is not None:
            self._folder.buffers.give_back(pair)

    def _consume(self, writer: FileWriter, pieces: Sequence[bytes | memoryview]) -> None:
        """Decode, write and hash; runs in a thread, one call at a time."""
        if self._decoder is not None:
            pieces = [piece for received in pieces for piece in self._decoder.feed(bytes(received))]
        self.size += sum(map(len, pieces))
        if self._expected is not None and self.size > self._expected:
            raise S3Error("EntityTooLarge", "The body is longer than announced.")
        if self.size > self._call.largest:
            raise _too_large(self._call.largest)
        self._folder.require_space((self._expected or self.size) - self.size)  # others write too
        writer.write(pieces)
        self.digests.update(pieces)

    def verified_checksums(self) -> dict[str, str]:
        """Compare all hashes with the client's; return checksums to keep. Raises `S3Error` if one differs."""
        return self.digests.verify({} if self._decoder is None else self._decoder.trailers)


def _too_large(largest: int) -> S3Error:
    return S3Error("EntityTooLarge", f"This upload may have at most {largest} bytes.")
