"""Opens a stored object that arrives in pieces of any length, with constant memory."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag

from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import BLOCK_SIZE
from lapel.slices.encrypted_uploads.documents.stored_object.blocks import BlockCipher
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BLOCK_HEADER_LENGTH,
    HEADER_LENGTH,
    STORED_BLOCK,
    TAG_LENGTH,
    TRAILER_LENGTH,
    SealedObject,
    StoredHeader,
    extent_of_ciphertext,
    parse_header,
    parse_trailer,
)

ROOM = BLOCK_SIZE
"""Bytes of plain text that may come from bytes that waited."""


class BlockOpener:
    """Opens one object of `ciphertext_length` bytes with its data key.

    Give the object's bytes to `feed`, in order, then call `finish` once. Each byte that `feed` writes is that
    of a block whose tag was right, but the object is right only when `finish` has returned: until then,
    publish nothing. Pieces of 64 KiB and more are fast.
    """

    def __init__(self, data_key: bytes, ciphertext_length: int, *, hashes_plaintext: bool = True) -> None:
        """`hashes_plaintext`: False if the caller has the plain text compared with the trailer's hash.

        Raises Refused (`invalid_length`) for a length that no object has.
        """
        self._extent = extent_of_ciphertext(ciphertext_length)
        self._data_key = data_key
        self._header: StoredHeader | None = None
        self._header_sha256 = b""
        self._cipher: BlockCipher
        self._waiting = bytearray()  # the begin of a header, a block or a trailer
        self._received = 0
        self._index = 0  # of the next block
        self._body = hashlib.sha256()
        self._plaintext = hashlib.sha256() if hashes_plaintext else None
        self._block_failed = False
        self._plain = memoryview(b"")  # where plain text goes now
        self._opened = 0  # bytes that are there

    def feed(self, data: bytes | memoryview, into: bytearray) -> int:
        """Write the plain text of the blocks that `data` completes; nothing more after a block whose tag is
        wrong. Returns the number of bytes.

        `into` needs room for `data` and ROOM more bytes. Memory that is used again is faster than new memory.
        Raises Refused: as `parse_header`, and `invalid_length` for a block of another length than its place
        has, and for more bytes than the object has.
        """
        self._body.update(memoryview(data)[: max(0, self._extent.body_length - self._received)])
        self._received += len(data)
        if self._received > self._extent.ciphertext_length:
            raise Refused("invalid_length", "The stored object is longer than it should be.")
        self._plain, self._opened = memoryview(into), 0
        view = memoryview(data)
        while view:
            if self._waiting or self._at_trailer or len(view) < self._next_length:
                view = self._wait(view)
            else:
                view = view[self._take(view) :]
        if self._plaintext is not None:
            self._plaintext.update(self._plain[: self._opened])
        return self._opened

    @property
    def header(self) -> StoredHeader | None:
        """The header; None until all its bytes have come."""
        return self._header

    def received_sha256(self) -> bytes:
        """The 32 bytes of all that has come so far."""
        whole = self._body.copy()
        if self._at_trailer:
            whole.update(self._waiting)
        return whole.digest()

    def finish(self) -> SealedObject:
        """The facts of the whole object, which is what its data key sealed.

        Raises Refused, in this order: `invalid_length` for too few bytes, as `parse_trailer`,
        `digest_mismatch` (the hash of header and blocks), `authentication_failed` (the trailer's tag, a
        block's tag, the plain text's hash).
        """
        if self._received != self._extent.ciphertext_length or self._header is None:
            raise Refused("invalid_length", "The stored object is shorter than it should be.")
        header, trailer_bytes = self._header, bytes(self._waiting)
        trailer = parse_trailer(trailer_bytes, header, self._extent)
        if not hmac.compare_digest(self._body.digest(), trailer.body_sha256):
            raise Refused("digest_mismatch", "Header and blocks are not those that the trailer is for.")
        tag = digests.trailer_tag(
            self._data_key, header.recording_uuid, header.recording_generation, trailer_bytes
        )
        if not hmac.compare_digest(tag, trailer.tag):
            raise Refused("authentication_failed", "The tag of the trailer is not that of the data key.")
        if self._block_failed:
            raise Refused("authentication_failed", "The tag of a block is not that of the data key.")
        if self._plaintext is not None and self._plaintext.digest() != trailer.plaintext_sha256:
            raise Refused("authentication_failed", "The plain text is not the one that the trailer is for.")
        return SealedObject(
            header=header,
            extent=self._extent,
            ciphertext_sha256=self.received_sha256(),
            plaintext_sha256=trailer.plaintext_sha256,
            header_sha256=self._header_sha256,
            trailer_sha256=hashlib.sha256(trailer_bytes).digest(),
        )

    @property
    def _at_trailer(self) -> bool:
        return self._index == self._extent.block_count

    @property
    def _next_length(self) -> int:
        """The length of what comes next: the header, a block, or the trailer."""
        if self._header is None:
            return HEADER_LENGTH
        return TRAILER_LENGTH if self._at_trailer else self._extent.stored_block(self._index)

    def _wait(self, view: memoryview) -> memoryview:
        """Puts bytes behind those that wait, until a header or a block is whole; what is left of `view`."""
        missing = self._next_length - len(self._waiting)
        self._waiting += view[:missing]
        if len(view) >= missing and not self._at_trailer:
            whole = memoryview(self._waiting)
            self._waiting = bytearray()
            self._take(whole)
        return view[missing:]

    def _take(self, view: memoryview) -> int:
        """Reads the header, or at least one whole block. Returns how many bytes were read."""
        if self._header is None:
            self._begin(bytes(view[:HEADER_LENGTH]))
            return HEADER_LENGTH
        block = self._next_length
        before_last = self._extent.block_count - 1 - self._index
        count = min(before_last, len(view) // STORED_BLOCK) if before_last else 1
        taken = view[: count * block]
        self._open(taken, block, count)
        self._index += count
        return len(taken)

    def _begin(self, data: bytes) -> None:
        self._header = parse_header(data)
        self._header_sha256 = hashlib.sha256(data).digest()
        self._cipher = BlockCipher(self._data_key, self._header)

    def _open(self, run: memoryview, stored: int, count: int) -> None:
        """Writes the plain text of `count` blocks of `stored` bytes; nothing if one of them, or one before,
        has a wrong tag."""
        length = stored - BLOCK_HEADER_LENGTH - TAG_LENGTH
        head = length.to_bytes(BLOCK_HEADER_LENGTH, "little")
        if any(bytes(run[at::stored]) != head[at : at + 1] * count for at in range(BLOCK_HEADER_LENGTH)):
            raise Refused("invalid_length", "A block has another length than its place in the object has.")
        if self._block_failed:
            return
        plain = self._plain[self._opened : self._opened + count * length]
        try:
            self._cipher.open(self._index, run, length, plain)
        except InvalidTag:
            self._block_failed = True
        else:
            self._opened += len(plain)
