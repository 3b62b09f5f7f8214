"""The decryption of the blocks of a stored object."""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lapel.slices.encrypted_uploads.documents import digests
from lapel.slices.encrypted_uploads.documents.layouts import BLOCK_SIZE, VERSION
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BLOCK_HEADER_LENGTH,
    TAG_LENGTH,
    StoredHeader,
)

# The end of a block's associated data: index, offset of its plain text, length.
_PLACE = struct.Struct("<IQI")
_INDEX = struct.Struct("<I")


class BlockCipher:
    """Opens the blocks of one object, in runs: blocks that follow each other and have the same length.

    Almost all time of an upload is spent here, so a run is one loop over local names. Nonce and associated
    data are two buffers whose ends are written anew for each block.
    """

    def __init__(self, data_key: bytes, header: StoredHeader) -> None:
        prefix = (
            digests.domain("block-aad")
            + VERSION.to_bytes(2, "little")
            + digests.recording_salt(header.recording_uuid, header.recording_generation)
        )
        self._cipher = ChaCha20Poly1305(data_key)
        self._nonce = bytearray(header.nonce_base)
        self._aad = bytearray(prefix + bytes(_PLACE.size))
        self._place_at = len(prefix)
        (self._nonce_end,) = _INDEX.unpack(header.nonce_base[8:])

    def open(self, index: int, stored: memoryview, length: int, into: memoryview) -> None:
        """Write the plain text of a run of blocks, each of `length` bytes. `index`: number of the first one.

        Raises cryptography's InvalidTag.
        """
        nonce, aad, place_at, nonce_end = self._nonce, self._aad, self._place_at, self._nonce_end
        decrypt, set_nonce, set_place = self._cipher.decrypt_into, _INDEX.pack_into, _PLACE.pack_into
        sealed, to = length + TAG_LENGTH, 0
        for at in range(BLOCK_HEADER_LENGTH, len(stored), BLOCK_HEADER_LENGTH + sealed):
            set_nonce(nonce, 8, nonce_end ^ index)
            set_place(aad, place_at, index, index * BLOCK_SIZE, length)
            decrypt(nonce, stored[at : at + sealed], aad, into[to : to + length])
            index += 1
            to += length
