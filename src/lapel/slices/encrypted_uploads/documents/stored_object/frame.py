"""The frame of a stored object: a header of 128 bytes, its blocks, and a trailer of 144 bytes.

All blocks but the last have 4,096 bytes of plain text, so the length of an object determines how many blocks
it has, and how long each is.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import (
    BLOCK_SIZE,
    SUITE,
    Bytes16,
    Bytes32,
    Layout,
    Uint32,
    Uint64,
    must,
)

HEADER_LENGTH = 128
TRAILER_LENGTH = 144
BLOCK_HEADER_LENGTH = 4  # u16 length, u16 zero: together the length as u32
TAG_LENGTH = 16
STORED_BLOCK = BLOCK_HEADER_LENGTH + BLOCK_SIZE + TAG_LENGTH
MOST_BLOCKS = 2**32 - 1

BATCH, STREAMING = 1, 2

HEADER = Layout(
    b"BOTAENC2",
    HEADER_LENGTH,
    (
        (12, "I", "mode"),
        (16, "H", SUITE),
        (18, "H", 1),  # wrap suite
        (20, "I", "wrap_key_version"),
        (24, "I", "block_size"),
        (28, "uuid", "recording_uuid"),
        (44, "I", "recording_generation"),
        (48, "12s", "nonce_base"),
        (60, "12s", "wrap_nonce"),
        (72, "32s", "wrapped_key"),
        (104, "16s", "wrapped_key_tag"),
        (120, "Q", 0),
    ),
)

TRAILER = Layout(
    b"BOTAEND2",
    TRAILER_LENGTH,
    (
        (12, "B", 1),  # complete
        (13, "B", "mode"),
        (14, "H", 0),
        (16, "I", "block_count"),
        (20, "Q", "plaintext_length"),
        (28, "Q", "body_length"),
        (36, "32s", "plaintext_sha256"),
        (68, "32s", "body_sha256"),
        (100, "12s", bytes(12)),
        (112, "32s", "tag"),
    ),
)

Bytes12 = Annotated[bytes, msgspec.Meta(min_length=12, max_length=12)]
Mode = Literal[1, 2]  # batch, streaming


class StoredHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a header. The server cannot open the wrapped key: it is for the device itself."""

    mode: Mode
    wrap_key_version: Uint32
    block_size: Literal[4096] = BLOCK_SIZE
    recording_uuid: UUID
    recording_generation: Uint32
    nonce_base: Bytes12
    wrap_nonce: Bytes12
    wrapped_key: Bytes32
    wrapped_key_tag: Bytes16


class StoredTrailer(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a trailer. The body is header and blocks."""

    mode: Mode
    block_count: Uint32
    plaintext_length: Uint64
    body_length: Uint64
    plaintext_sha256: Bytes32
    body_sha256: Bytes32
    tag: Bytes32


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a stored object, in bytes."""

    ciphertext_length: int
    plaintext_length: int
    block_count: int

    @property
    def body_length(self) -> int:
        """The length of header and blocks."""
        return self.ciphertext_length - TRAILER_LENGTH

    def stored_block(self, index: int) -> int:
        """The length of one block as it is stored."""
        plaintext = min(BLOCK_SIZE, self.plaintext_length - index * BLOCK_SIZE)
        return BLOCK_HEADER_LENGTH + plaintext + TAG_LENGTH


class SealedObject(msgspec.Struct, frozen=True, kw_only=True):
    """A stored object that was opened and found right."""

    header: StoredHeader
    extent: Extent
    ciphertext_sha256: bytes
    plaintext_sha256: bytes
    header_sha256: bytes
    trailer_sha256: bytes


def extent_of_ciphertext(length: int) -> Extent:
    """The sizes for a whole object. Raises Refused (`invalid_length`) for a length that no object has."""
    blocks = -(-(length - HEADER_LENGTH - TRAILER_LENGTH) // STORED_BLOCK)
    plaintext = length - HEADER_LENGTH - TRAILER_LENGTH - blocks * (BLOCK_HEADER_LENGTH + TAG_LENGTH)
    if not 1 <= blocks <= MOST_BLOCKS or plaintext <= (blocks - 1) * BLOCK_SIZE:
        raise Refused("invalid_length", "No stored object has this length.")
    return Extent(ciphertext_length=length, plaintext_length=plaintext, block_count=blocks)


def parse_header(data: bytes) -> StoredHeader:
    """Raises Refused: `invalid_magic`, `unsupported_version`, `invalid_length`, `noncanonical_encoding`."""
    return HEADER.parse(data, StoredHeader)


def encode_header(header: StoredHeader) -> bytes:
    """The 128 bytes. Raises ValueError for a value that has no place."""
    return HEADER.pack(header)


def parse_trailer(data: bytes, header: StoredHeader, extent: Extent) -> StoredTrailer:
    """The fields; hashes and tag are not checked. Raises Refused as `parse_header`, and `invalid_length` for
    sizes that are not those of the object."""
    found = TRAILER.parse(data, StoredTrailer)
    must(found.mode == header.mode, "Header and trailer are of different modes.")
    said = (found.block_count, found.plaintext_length, found.body_length)
    if said != (extent.block_count, extent.plaintext_length, extent.body_length):
        raise Refused("invalid_length", "The trailer is that of an object of another length.")
    return found
