"""Documents of a fixed length, as tables of offset, format and name."""

from __future__ import annotations

import struct
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import msgspec

from lapel.slices.encrypted_uploads.documents.failures import Refused

VERSION = 2
PROFILE = 3  # encrypted_upload_v2
STORAGE_FORMAT = 3  # bota_enc_v2
SUITE = 1
KEM, KDF, AEAD = 0x20, 1, 3  # of HPKE: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305
RECIPIENT_KEY_VERSION = 1
BLOCK_SIZE = 4096

# Types of fields. `Layout.parse` refuses what they do not allow.
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, msgspec.Meta(ge=0)]  # the places of documents have no larger numbers
Policy = Literal[0, 1, 2]  # legacy_allowed, v2_preferred, v2_required
Environment = Literal[0, 1, 2]  # 0 is development, 2 production

T = TypeVar("T", bound=msgspec.Struct)
FieldValue = int | bytes | UUID
# Offset in bytes, format, and the name of the field or the only value that the place may have. The format is
# one of `struct`, or `uuid`.
Row = tuple[int, str, str | FieldValue]


class Layout:
    """The places of a document. It begins with 8 bytes of magic, u16 version and u16 length.

    `rows` are the places from offset 12 on, without gaps. The offsets are compared with the formats when the
    module is loaded.
    """

    def __init__(self, magic: bytes, length: int, rows: tuple[Row, ...]) -> None:
        self.magic = magic
        self.length = length
        self._rows = rows
        formats = ["16s" if kind == "uuid" else kind for _, kind, _ in rows]
        self._struct = struct.Struct("<8sHH" + "".join(formats))
        at = 12
        for (offset, _, name), each in zip(rows, formats, strict=True):
            if offset != at:
                raise ValueError(f"{name} of {magic!r} is at {at}, not at {offset}")
            at += struct.calcsize("<" + each)
        if at != length:
            raise ValueError(f"{magic!r} has {at} bytes, not {length}")

    def parse(self, data: bytes, document: type[T]) -> T:
        """The named fields as a `document`. Raises Refused for a wrong magic, version or length, for a fixed
        value that is another one, and for a field that its type does not allow."""
        self._check_frame(data)
        found: dict[str, FieldValue] = {}
        for (offset, kind, name), value in zip(self._rows, self._struct.unpack(data)[3:], strict=True):
            if not isinstance(name, str):
                must(value == name, f"The value at byte {offset} is not the one that is defined.")
            else:
                found[name] = UUID(bytes=value) if kind == "uuid" else value
        try:
            return msgspec.convert(found, document)
        except msgspec.ValidationError as error:
            raise Refused("noncanonical_encoding", f"A field is not allowed: {error}.") from None

    def pack(self, document: msgspec.Struct) -> bytes:
        """The bytes of a `document`. Raises ValueError for a value that has no place."""
        placed: list[int | bytes] = []
        for _, kind, name in self._rows:
            value: FieldValue = getattr(document, name) if isinstance(name, str) else name
            if isinstance(value, bytes) and struct.calcsize(kind) != len(value):
                raise ValueError(f"{name} has {len(value)} bytes, not {struct.calcsize(kind)}")
            placed.append(value.bytes if isinstance(value, UUID) else value)
        try:
            return self._struct.pack(self.magic, VERSION, self.length, *placed)
        except struct.error as error:
            raise ValueError(str(error)) from None

    def _check_frame(self, data: bytes) -> None:
        if len(data) < 12:
            raise Refused(
                "invalid_length", f"The document has {len(data)} bytes, and {self.length} are needed."
            )
        magic, version, length = struct.unpack_from("<8sHH", data)
        if magic != self.magic:
            raise Refused("invalid_magic", "The document begins with other bytes than its kind has.")
        if version != VERSION:
            raise Refused("unsupported_version", f"The version is {version}, and only {VERSION} is known.")
        if length != self.length or len(data) != self.length:
            raise Refused(
                "invalid_length", f"The document has {len(data)} bytes, and {self.length} are needed."
            )


def must(fits: bool, what: str) -> None:
    """Raises Refused (`noncanonical_encoding`) with the sentence `what` unless `fits`."""
    if not fits:
        raise Refused("noncanonical_encoding", what)
