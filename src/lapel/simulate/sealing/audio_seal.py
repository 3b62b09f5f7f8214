"""The stored object: audio encrypted in blocks, between a header that has the wrapped key and a trailer.

The key is wrapped with the device's root key, which never leaves the device.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from lapel.simulate.sealing.device_refusals import DeviceRefusal, RefusalCode
from lapel.simulate.sealing.key_derivation import hkdf, named, sha256, tag_of

BLOCK = 4096  # bytes of plain text
BATCH = 1
_WRAP_VERSION = 1
_HEADER = struct.Struct("<8sHHIHHII16sI12s12s")  # the wrapped key, its tag and eight zeros follow
_TRAILER = struct.Struct("<8sHHBBHIQQ32s32s12x")  # its tag follows
_BLOCK_AAD = struct.Struct("<H16sIIQI")
_HEADER_BYTES, _TRAILER_BYTES, _WRAPPED = 128, 144, slice(72, 120)
_RESERVED = bytes(8)


@dataclass(frozen=True, slots=True)
class SealedAudio:
    """A recording as the device keeps and uploads it: `data`, and what the device knows of it."""

    data: bytes
    uuid: UUID
    generation: int
    plaintext_length: int
    plaintext_sha256: bytes

    @property
    def sha256(self) -> bytes:
        """The hash of the whole object."""
        return sha256(self.data)

    @property
    def header_sha256(self) -> bytes:
        """The hash of the header."""
        return sha256(self.data[:_HEADER_BYTES])

    @property
    def trailer_sha256(self) -> bytes:
        """The hash of the trailer."""
        return sha256(self.data[-_TRAILER_BYTES:])

    @property
    def block_count(self) -> int:
        """The number of encrypted blocks."""
        return -(-self.plaintext_length // BLOCK)


@dataclass(frozen=True, slots=True)
class SealKeys:
    """What a seal takes besides the audio: 32 bytes for each key, 12 for each nonce."""

    root: bytes
    data: bytes
    nonce_base: bytes
    wrap_nonce: bytes
    wrap_version: int = _WRAP_VERSION


def seal_audio(plain: bytes, uuid: UUID, generation: int, keys: SealKeys) -> SealedAudio:
    """The sealed recording. `plain` has at least one byte."""
    header = _header(uuid, generation, keys)
    aead = ChaCha20Poly1305(keys.data)
    blocks = [
        _block(aead, keys.nonce_base, uuid, generation, index, plain[at : at + BLOCK])
        for index, at in enumerate(range(0, len(plain), BLOCK))
    ]
    body = header + b"".join(blocks)
    trailer = _TRAILER.pack(
        b"BOTAEND2",
        2,
        _TRAILER_BYTES,
        1,
        BATCH,
        0,
        len(blocks),
        len(plain),
        len(body),
        sha256(plain),
        sha256(body),
    )
    tag = tag_of(recording_key(keys.data, uuid, generation, "trailer-key"), named("trailer-auth"), trailer)
    return SealedAudio(body + trailer + tag, uuid, generation, len(plain), sha256(plain))


def data_key_of(sealed: SealedAudio, root_key: bytes) -> bytes:
    """The key of the blocks, unwrapped from the header.

    Raises DeviceRefusal when the header was changed, or is another device's.
    """
    header = sealed.data[:_HEADER_BYTES]
    (wrap_version,) = struct.unpack_from("<I", header, 20)
    wrapping = ChaCha20Poly1305(_wrap_key(root_key, wrap_version))
    try:
        return wrapping.decrypt(header[60:72], header[_WRAPPED], _wrap_aad(header[:72]))
    except InvalidTag:
        raise DeviceRefusal(RefusalCode.STORAGE, "the wrapped key does not open") from None


def recording_key(data_key: bytes, uuid: UUID, generation: int, name: str) -> bytes:
    """A key of one recording, derived from the key of its blocks."""
    return hkdf(data_key, uuid.bytes + generation.to_bytes(4, "little"), named(name))


def _header(uuid: UUID, generation: int, keys: SealKeys) -> bytes:
    begin = _HEADER.pack(
        b"BOTAENC2",
        2,
        _HEADER_BYTES,
        BATCH,
        1,
        1,
        keys.wrap_version,
        BLOCK,
        uuid.bytes,
        generation,
        keys.nonce_base,
        keys.wrap_nonce,
    )
    wrapping = ChaCha20Poly1305(_wrap_key(keys.root, keys.wrap_version))
    return begin + wrapping.encrypt(keys.wrap_nonce, keys.data, _wrap_aad(begin)) + _RESERVED


def _wrap_key(root_key: bytes, version: int) -> bytes:
    return hkdf(root_key, b"", named("local-wrap") + version.to_bytes(4, "little"))


def _wrap_aad(begin: bytes) -> bytes:
    return named("wrapped-key-aad") + begin + _RESERVED


def _block(
    aead: ChaCha20Poly1305, base: bytes, uuid: UUID, generation: int, index: int, plain: bytes
) -> bytes:
    last = int.from_bytes(base[8:], "little") ^ index
    nonce = base[:8] + last.to_bytes(4, "little")
    place = _BLOCK_AAD.pack(2, uuid.bytes, generation, index, index * BLOCK, len(plain))
    return struct.pack("<HH", len(plain), 0) + aead.encrypt(nonce, plain, named("block-aad") + place)
