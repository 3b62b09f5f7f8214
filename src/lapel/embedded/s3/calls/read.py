"""GET and HEAD of an object: conditions, ranges, and the bytes themselves.

Source: RFC 9110, sections 13 (conditional requests) and 14 (range requests).
"""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial

from lapel.embedded.s3.calls.metadata import answer_headers, checksum_headers
from lapel.embedded.s3.files.folder import Bucket, Folder
from lapel.embedded.s3.files.objects import ObjectFacts, StoredObject, open_object
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.request import Headers, Request
from lapel.embedded.s3.s3_errors import S3Error, SenderGone

# Bytes of a piece for a client that is too slow for `send_file`. A connection holds two: many connections
# that read nothing must not fill the memory, and a client may take `stall` seconds for each.
_PIECE = 64 << 10
_FAST = 1 << 18  # bytes that a thread sends at once to a client for which the event loop is not needed
_CONDITIONS = frozenset((b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"))
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


async def open_existing(folder: Folder, bucket: Bucket, path: str) -> StoredObject:
    """Open the object of `bucket` whose file is at `path`.

    If the file is in the page cache, it is opened at once, else in a thread.

    Raises `S3Error` when there is no such object or bucket, `DamagedObject` when its file is damaged.
    """
    try:
        stored = open_object(path, wait=False)
    except BlockingIOError:
        stored = await folder.in_thread(open_object, path)
    if stored is None:
        if not bucket.exists():
            raise S3Error("NoSuchBucket", "There is no such bucket.")
        raise S3Error("NoSuchKey", "There is no object with this key.")
    return stored


async def read_object(call: SignedCall) -> None:
    """Answer a GET or HEAD.

    Raises `S3Error` when there is no such object, or a condition or range is not met; `SenderGone` when the
    client hangs up or reads nothing for `call.stall` seconds.
    """
    path = call.bucket.path_of(call.key)
    recent = call.folder.recent.find(path)
    if recent is not None:
        await _answer(call, recent)
        return
    with await open_existing(call.folder, call.bucket, path) as stored:
        call.folder.recent.keep(path, stored)
        await _answer(call, stored)


async def _answer(call: SignedCall, stored: StoredObject) -> None:
    request, facts = call.request, stored.facts
    status = conditions(request.headers, facts)
    headers = answer_headers(request, facts)
    if status == 304:
        await request.answer(304, headers)
        return
    first, length = 0, facts.size
    wanted = None
    if b"range" in request.headers:
        wanted = byte_range(request, facts)
    if wanted is not None:
        status = 206
        first, length = wanted
        span = b"bytes %d-%d/%d" % (first, first + length - 1, facts.size)
        headers.append((b"content-range", span))
    elif facts.checksums and request.headers.get(b"x-amz-checksum-mode", b"").upper() == b"ENABLED":
        headers += checksum_headers(facts.checksums)
    headers.append((b"content-length", b"%d" % length))
    if request.method == "HEAD" or length == 0:
        await request.send_whole(status, headers, b"")
    elif stored.data is not None:
        await request.send_whole(status, headers, stored.data[first : first + length])
    else:
        await request.start(status, headers)
        await _send_file(call, stored, first, length)


async def _send_file(call: SignedCall, stored: StoredObject, first: int, length: int) -> None:
    """Send a range in pieces, as fast as the client reads; stop when the client is gone or reads no more."""
    gone = asyncio.ensure_future(_until_gone(call.request))
    try:
        end = first + length
        while first < end:
            send = partial(call.request.send_file, stored.fd, first, end - first)
            sent = await call.folder.move(send)
            first += sent
            if first < end and sent >= _FAST:
                continue
            rest = min(_PIECE, end - first)
            piece = await call.folder.in_thread(stored.read, first, rest) if rest else b""
            if gone.done() or (rest and not piece):
                raise SenderGone
            first += len(piece)
            await _send_piece(call, piece, more=first < end)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _send_piece(call: SignedCall, piece: bytes, *, more: bool) -> None:
    """Write a piece when the client has taken most of the one before. Raises `SenderGone` if that takes
    longer than `call.stall` seconds."""
    try:
        async with asyncio.timeout(call.stall):
            await call.request.send_body(piece, more=more)
    except TimeoutError:
        raise SenderGone from None


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def conditions(headers: Mapping[bytes, bytes], facts: ObjectFacts) -> int:
    """Return 200 or 304; raises `S3Error` PreconditionFailed. Order and precedence as in RFC 9110, 13.2.2."""
    if _CONDITIONS.isdisjoint(headers):
        return 200
    match = headers.get(b"if-match")
    if match is not None:
        if not _names_etag(match, facts.etag):
            raise S3Error("PreconditionFailed", "If-Match names another ETag.")
    elif _modified_since(headers, b"if-unmodified-since", facts) is True:
        raise S3Error("PreconditionFailed", "The object was modified since.")
    none_match = headers.get(b"if-none-match")
    if none_match is not None:
        return 304 if _names_etag(none_match, facts.etag) else 200
    return 304 if _modified_since(headers, b"if-modified-since", facts) is False else 200


def _names_etag(header: bytes, etag: str) -> bool:
    if header.strip() == b"*":
        return True
    return any(part.strip().removeprefix(b"W/").strip(b'"') == etag.encode() for part in header.split(b","))


def _modified_since(headers: Mapping[bytes, bytes], name: bytes, facts: ObjectFacts) -> bool | None:
    """Whether the object is newer than the header's date; None without a readable date."""
    value = headers.get(name)
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None
    return facts.modified // 1000 > moment


def byte_range(request: Request, facts: ObjectFacts) -> tuple[int, int] | None:
    """Return offset and length of the requested range, or None for the whole object.

    A header that is not a single byte range is ignored, as RFC 9110 allows. Raises `S3Error` InvalidRange for
    a range that begins after the object's end.
    """
    match = _RANGE.fullmatch(request.header("range") or "")
    condition = request.headers.get(b"if-range")
    if (
        match is None
        or match[0] == "bytes=-"
        or (condition is not None and not _names_etag(condition, facts.etag))
    ):
        return None
    size = facts.size
    if not match[1]:
        wanted = min(int(match[2]), size)
        first, last = size - wanted, size - 1
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
    if first >= size:
        unsatisfied: Headers = [(b"content-range", b"bytes */%d" % size)]
        raise S3Error("InvalidRange", "The range begins behind the object's end.", tuple(unsatisfied))
    return first, last - first + 1
