"""What a device does with a recording: encrypt it, wrap its key for itself, and describe it in a manifest."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lapel.slices.encrypted_uploads.documents import digests, hpke, manifest, upload_authorization
from lapel.slices.encrypted_uploads.documents.capabilities import Capabilities
from lapel.slices.encrypted_uploads.documents.layouts import BLOCK_SIZE
from lapel.slices.encrypted_uploads.documents.manifest import UploadManifest
from lapel.slices.encrypted_uploads.documents.stored_object.frame import (
    BATCH,
    BLOCK_HEADER_LENGTH,
    HEADER_LENGTH,
    MOST_BLOCKS,
    TAG_LENGTH,
    TRAILER,
    TRAILER_LENGTH,
    Extent,
    Mode,
    SealedObject,
    StoredHeader,
    StoredTrailer,
    encode_header,
)
from lapel.slices.encrypted_uploads.documents.upload_authorization import Authorization

WRAPPING = b"bota/enc-v2/local-wrap/v1"
WRAPPED = b"bota/enc-v2/wrapped-key-aad/v1"
BLOCK = b"bota/enc-v2/block-aad/v1"


def encode_capabilities(capabilities: Capabilities) -> bytes:
    """The 24 bytes. Raises struct.error for a number that has no place."""
    each = capabilities
    sizes = (each.maximum_signed_blob, each.maximum_manifest, each.maximum_data_payload)
    rest = (each.maximum_window_packets, each.checkpoint_interval_blocks, each.maximum_missing_sequences, 0)
    return struct.pack("<BBHIHHHHIHH", 1, each.highest_profile, 24, each.flags, *sizes, *rest)


def extent_of_plaintext(length: int) -> Extent:
    """The sizes for a plain text. Raises ValueError unless it has 1 byte, and at most 2³² - 1 blocks."""
    blocks = -(-length // BLOCK_SIZE)
    if not 1 <= blocks <= MOST_BLOCKS:
        raise ValueError("a stored object has between one and 2**32 - 1 blocks")
    overhead = HEADER_LENGTH + TRAILER_LENGTH + blocks * (BLOCK_HEADER_LENGTH + TAG_LENGTH)
    return Extent(ciphertext_length=length + overhead, plaintext_length=length, block_count=blocks)


def seal_envelope(
    recipient: bytes, *, info: bytes, aad: bytes, plaintext: bytes, ephemeral_key: bytes | None = None
) -> tuple[bytes, bytes]:
    """(enc of 32 bytes, ciphertext with its tag of 16 bytes) for the public key `recipient`.

    Only tests give `ephemeral_key`: two messages under one of them would share key and nonce. Raises Refused
    (`hpke_open_failed`) for a public key whose shared secret is zero.
    """
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_key or hpke.new_private_key())
    encapsulated = ephemeral.public_key().public_bytes_raw()
    key, nonce = hpke.key_schedule(hpke.shared_secret(ephemeral, recipient, encapsulated + recipient), info)
    return encapsulated, ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


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
    cipher = ChaCha20Poly1305(_wrapping_key(device_root_key, wrap_key_version))
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
    cipher = ChaCha20Poly1305(_wrapping_key(device_root_key, header.wrap_key_version))
    return cipher.decrypt(
        header.wrap_nonce, header.wrapped_key + header.wrapped_key_tag, _wrapping_aad(header)
    )


def _wrapping_aad(header: StoredHeader) -> bytes:
    data = encode_header(header)
    return WRAPPED + data[:72] + data[120:HEADER_LENGTH]


class BlockSealer:
    """Seals one plain text. The object is what `feed` returned, in order, then what `finish` returned.

    A data key seals one object only.
    """

    def __init__(self, data_key: bytes, header: StoredHeader) -> None:
        self._data_key = data_key
        self._header = header
        self._cipher = ChaCha20Poly1305(data_key)
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

    def finish(self, said_sha256: bytes | None = None) -> tuple[bytes, SealedObject]:
        """(the last bytes of the object, its facts). Raises ValueError for an empty plain text.

        `said_sha256`: what a device that lies says of the plain text.
        """
        extent = extent_of_plaintext(self._length)
        last = self._seal(self._waiting, len(self._waiting))
        untagged = StoredTrailer(
            mode=self._header.mode,
            block_count=extent.block_count,
            plaintext_length=extent.plaintext_length,
            body_length=extent.body_length,
            plaintext_sha256=said_sha256 or self._plaintext.digest(),
            body_sha256=self._body.digest(),
            tag=bytes(32),
        )
        header = self._header
        start = TRAILER.pack(untagged)[:-32]
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
        sealed, self._head = [self._head], b""
        view, size = memoryview(plaintext), length.to_bytes(BLOCK_HEADER_LENGTH, "little")
        for at in range(0, len(view), length):
            sealed += [size, self._block(view[at : at + length])]
            self._index += 1
        for each in sealed:
            self._body.update(each)
        return sealed

    def _block(self, plaintext: memoryview) -> bytes:
        header, index = self._header, self._index
        salt = digests.recording_salt(header.recording_uuid, header.recording_generation)
        end = int.from_bytes(header.nonce_base[8:], "little") ^ index
        place = struct.pack("<IQI", index, index * BLOCK_SIZE, len(plaintext))
        return self._cipher.encrypt(
            header.nonce_base[:8] + end.to_bytes(4, "little"), plaintext, BLOCK + b"\2\0" + salt + place
        )


def seal_manifest(
    stored: SealedObject,
    data_key: bytes,
    authorization: bytes,
    *,
    channel: Literal[1, 2, 3] = 1,
    ephemeral_key: bytes | None = None,
) -> bytes:
    """The 580 bytes for a stored object under an authorization. The data key is sealed for the session's key.

    Only tests give `ephemeral_key`. Raises Refused as `upload_authorization.parse`, and `hpke_open_failed`
    for a public key of the session that is not usable.
    """
    issued = upload_authorization.parse(authorization)
    unsealed = _described(stored, issued, hashlib.sha256(authorization).digest(), channel)
    storage, context = unsealed.storage_identity, digests.upload_context(authorization)
    encapsulated, sealed = seal_envelope(
        issued.recipient_public_key,
        info=manifest.INFO,
        aad=context + storage,
        plaintext=data_key + storage + context,
        ephemeral_key=ephemeral_key,
    )
    untagged = manifest.LAYOUT.pack(
        msgspec.structs.replace(unsealed, encapsulated_key=encapsulated, sealed_key=sealed, tag=bytes(32))
    )
    return untagged[:548] + digests.manifest_tag(
        data_key, unsealed.recording_uuid, unsealed.recording_generation, untagged
    )


def _described(
    stored: SealedObject, issued: Authorization, authorization_sha256: bytes, channel: Literal[1, 2, 3]
) -> UploadManifest:
    return UploadManifest(
        policy=issued.policy,
        channel=channel,
        owner_revision=issued.owner_revision,
        binding_generation=issued.binding_generation,
        recording_generation=stored.header.recording_generation,
        block_count=stored.extent.block_count,
        flags=3 if stored.header.mode == BATCH else 5,
        session_uuid=issued.session_uuid,
        recipient_key_uuid=issued.recipient_key_uuid,
        recording_uuid=stored.header.recording_uuid,
        tenant=issued.tenant,
        device=issued.device,
        configuration=issued.configuration,
        staging=issued.staging,
        authorization_sha256=authorization_sha256,
        ciphertext_length=stored.extent.ciphertext_length,
        plaintext_length=stored.extent.plaintext_length,
        ciphertext_sha256=stored.ciphertext_sha256,
        plaintext_sha256=stored.plaintext_sha256,
        header_sha256=stored.header_sha256,
        trailer_sha256=stored.trailer_sha256,
    )


def _wrapping_key(device_root_key: bytes, wrap_key_version: int) -> bytes:
    """The 32-byte key with which a device wraps data keys for itself."""
    info = WRAPPING + struct.pack("<I", wrap_key_version)
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(device_root_key)
