"""Opens a stored object that arrives in pieces of any length, with constant memory."""

from __future__ import annotations

import hashlib
import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import BLOCK_SIZE, VERSION
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BLOCK_HEADER_LENGTH,
    HEADER_LENGTH,
    TAG_LENGTH,
    SealedObject,
    StoredHeader,
    extent_of_ciphertext,
    parse_header,
    parse_trailer,
)

_BLOCK_HEADER = struct.Struct("<HH")
_BLOCK_PLACE = struct.Struct("<IQI")  # index, offset of its plain text, length: the end of a block's AAD
_INDEX = struct.Struct("<I")


class BlockCipher:
    """The nonces and the associated data of the blocks of one object."""

    def __init__(self, data_key: bytes, header: StoredHeader) -> None:
        self.cipher = ChaCha20Poly1305(data_key)
        self._nonce = bytes(header.nonce_base[:8])
        (self._nonce_end,) = _INDEX.unpack(header.nonce_base[8:])
        self._aad = (
            digests.domain("block-aad")
            + VERSION.to_bytes(2, "little")
            + digests.recording_salt(header.recording_uuid, header.recording_generation)
        )

    def parameters(self, index: int, length: int) -> tuple[bytes, bytes]:
        """(nonce, associated data) of a block with `length` bytes of plain text."""
        return (
            self._nonce + _INDEX.pack(self._nonce_end ^ index),
            self._aad + _BLOCK_PLACE.pack(index, index * BLOCK_SIZE, length),
        )


class BlockOpener:
    """Opens one object of `ciphertext_length` bytes with its data key.

    Give the object's bytes to `feed`, in order, then call `finish`. Each byte that `feed` returns is that of
    a block whose tag was right, but the object is right only when `finish` has returned: until then, publish
    nothing.
    """

    def __init__(self, data_key: bytes, ciphertext_length: int) -> None:
        """Raises Refused (`invalid_length`) for a length that no object has."""
        self._extent = extent_of_ciphertext(ciphertext_length)
        self._data_key = data_key
        self._header: StoredHeader | None = None
        self._header_sha256 = b""
        self._cipher: BlockCipher
        self._waiting = b""  # less than a header, a block or a trailer
        self._received = 0
        self._index = 0
        self._body = hashlib.sha256()
        self._plaintext = hashlib.sha256()
        self._block_failed = False

    def feed(self, data: bytes) -> bytes:
        """The plain text of the blocks that `data` completes. After a block whose tag is wrong, it is always
        empty.

        Raises Refused: as `parse_header`, and `invalid_length` for a block of another length than its place
        has, and for more bytes than the object has.
        """
        self._received += len(data)
        if self._received > self._extent.ciphertext_length:
            raise Refused("invalid_length", "The stored object is longer than it should be.")
        waiting = self._waiting + data
        at = 0
        if self._header is None:
            if len(waiting) < HEADER_LENGTH:
                self._waiting = waiting
                return b""
            self._begin(waiting[:HEADER_LENGTH])
            at = HEADER_LENGTH
        opened, at = self._open_blocks(waiting, at)
        self._waiting = waiting[at:]
        return opened

    def finish(self) -> SealedObject:
        """The facts of the whole object, which is what its data key sealed.

        Raises Refused, in this order: `invalid_length` for too few bytes, as `parse_trailer`,
        `digest_mismatch` (the hash of header and blocks), `authentication_failed` (the trailer's tag, a
        block's tag, the plain text's hash).
        """
        if self._received != self._extent.ciphertext_length or self._header is None:
            raise Refused("invalid_length", "The stored object is shorter than it should be.")
        header, trailer_bytes = self._header, self._waiting
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
        if self._plaintext.digest() != trailer.plaintext_sha256:
            raise Refused("authentication_failed", "The plain text is not the one that the trailer is for.")
        self._body.update(trailer_bytes)
        return SealedObject(
            header=header,
            extent=self._extent,
            ciphertext_sha256=self._body.digest(),
            plaintext_sha256=trailer.plaintext_sha256,
            header_sha256=self._header_sha256,
            trailer_sha256=hashlib.sha256(trailer_bytes).digest(),
        )

    def _begin(self, data: bytes) -> None:
        self._header = parse_header(data)
        self._header_sha256 = hashlib.sha256(data).digest()
        self._body.update(data)
        self._cipher = BlockCipher(self._data_key, self._header)

    def _open_blocks(self, data: bytes, start: int) -> tuple[bytes, int]:
        """(plain text, where the first block that is not whole begins)."""
        extent, opened, at = self._extent, [b""], start
        view = memoryview(data)
        while self._index < extent.block_count:
            length = extent.block_length(self._index)
            end = at + BLOCK_HEADER_LENGTH + length + TAG_LENGTH
            if end > len(data):
                break
            if _BLOCK_HEADER.unpack_from(data, at) != (length, 0):
                raise Refused(
                    "invalid_length", "A block has another length than its place in the object has."
                )
            if not self._block_failed:
                opened.append(self._open_block(view[at + BLOCK_HEADER_LENGTH : end], length))
            self._index += 1
            at = end
        self._body.update(view[start:at])
        plaintext = b"".join(opened)
        self._plaintext.update(plaintext)
        return plaintext, at

    def _open_block(self, sealed: memoryview, length: int) -> bytes:
        nonce, aad = self._cipher.parameters(self._index, length)
        try:
            return self._cipher.cipher.decrypt(nonce, sealed, aad)
        except InvalidTag:
            self._block_failed = True
            return b""
