"""Seals a plain text that arrives in pieces of any length, as a device does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.documents.layouts import BLOCK_SIZE
from lapel.slices.encrypted_uploads.documents.stored_object.blocks import BlockCipher
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BATCH,
    HEADER_LENGTH,
    TAG_LENGTH,
    Mode,
    SealedObject,
    StoredHeader,
    StoredTrailer,
    encode_header,
    encode_trailer,
    extent_of_plaintext,
)


def wrap(
    device_root_key: bytes,
    data_key: bytes,
    recording_uuid: UUID,
    recording_generation: int,
    *,
    mode: Mode = BATCH,
    wrap_key_version: int = 1,
    random: Callable[[int], bytes] = os.urandom,
) -> StoredHeader:
    """The header of a new object, with the data key (32 bytes) wrapped for the device itself.

    `random` gives as many bytes as it is asked for: the nonce base (12), then the nonce of the wrapping (12).
    """
    unwrapped = StoredHeader(
        mode=mode,
        wrap_key_version=wrap_key_version,
        recording_uuid=recording_uuid,
        recording_generation=recording_generation,
        nonce_base=random(12),
        wrap_nonce=random(12),
        wrapped_key=bytes(32),
        wrapped_key_tag=bytes(TAG_LENGTH),
    )
    cipher = ChaCha20Poly1305(digests.wrapping_key(device_root_key, wrap_key_version))
    wrapped = cipher.encrypt(unwrapped.wrap_nonce, data_key, _wrapping_aad(unwrapped))
    return StoredHeader(
        mode=mode,
        wrap_key_version=wrap_key_version,
        recording_uuid=recording_uuid,
        recording_generation=recording_generation,
        nonce_base=unwrapped.nonce_base,
        wrap_nonce=unwrapped.wrap_nonce,
        wrapped_key=wrapped[:32],
        wrapped_key_tag=wrapped[32:],
    )


def unwrap(device_root_key: bytes, header: StoredHeader) -> bytes:
    """The data key that a device wrapped for itself. Raises cryptography's InvalidTag for another root
    key.
    """
    cipher = ChaCha20Poly1305(digests.wrapping_key(device_root_key, header.wrap_key_version))
    return cipher.decrypt(
        header.wrap_nonce, header.wrapped_key + header.wrapped_key_tag, _wrapping_aad(header)
    )


def _wrapping_aad(header: StoredHeader) -> bytes:
    data = encode_header(header)
    return digests.domain("wrapped-key-aad") + data[:72] + data[120:HEADER_LENGTH]


class BlockSealer:
    """Seals one plain text. The object is what `feed` returned, in order, then what `finish` returned.

    A data key seals one object only.
    """

    def __init__(self, data_key: bytes, header: StoredHeader) -> None:
        self._data_key = data_key
        self._header = header
        self._cipher = BlockCipher(data_key, header)
        self._head = encode_header(header)  # until it is given out
        self._waiting = b""
        self._index = 0
        self._length = 0
        self._body = hashlib.sha256()
        self._plaintext = hashlib.sha256()

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the object. The last block, whole or not, waits for `finish`."""
        self._length += len(data)
        self._plaintext.update(data)
        view = memoryview(data)
        missing = BLOCK_SIZE - len(self._waiting)
        if len(view) <= missing:
            self._waiting += data
            return b""
        sealed = self._seal(self._waiting + view[:missing], BLOCK_SIZE)
        whole = (len(view) - missing - 1) // BLOCK_SIZE * BLOCK_SIZE
        sealed += self._seal(view[missing : missing + whole], BLOCK_SIZE)
        self._waiting = bytes(view[missing + whole :])
        return b"".join(sealed)

    def finish(self) -> tuple[bytes, SealedObject]:
        """(the last bytes of the object, its facts). Raises ValueError for an empty plain text."""
        extent = extent_of_plaintext(self._length)
        last = self._seal(self._waiting, len(self._waiting))
        untagged = StoredTrailer(
            mode=self._header.mode,
            block_count=extent.block_count,
            plaintext_length=extent.plaintext_length,
            body_length=extent.body_length,
            plaintext_sha256=self._plaintext.digest(),
            body_sha256=self._body.digest(),
            tag=bytes(32),
        )
        header = self._header
        start = encode_trailer(untagged)[:-32]
        trailer = start + digests.trailer_tag(
            self._data_key, header.recording_uuid, header.recording_generation, start
        )
        self._body.update(trailer)
        return b"".join((*last, trailer)), SealedObject(
            header=header,
            extent=extent,
            ciphertext_sha256=self._body.digest(),
            plaintext_sha256=untagged.plaintext_sha256,
            header_sha256=hashlib.sha256(encode_header(header)).digest(),
            trailer_sha256=hashlib.sha256(trailer).digest(),
        )

    def _seal(self, plaintext: bytes | memoryview, length: int) -> list[bytes]:
        """The pieces of blocks of `length` bytes each, after the header where they are the first."""
        sealed = [self._head, *self._cipher.seal(self._index, memoryview(plaintext), length)]
        self._head = b""
        self._index += len(plaintext) // length
        for each in sealed:
            self._body.update(each)
        return sealed
