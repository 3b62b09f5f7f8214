"""Answers about encrypted uploads, read as strictly as the app reads them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from lapel.simulate.client.caller import SimulationError
from lapel.simulate.sealing.key_derivation import sha256

T = TypeVar("T")
MOST_BYTES: Final = 65_536
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_FORBIDDEN_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_HOPS = frozenset({"host", "content-length", "transfer-encoding", "connection"})

SessionState: TypeAlias = Literal[
    "created", "staging", "staged", "ready", "processing", "published", "failed", "cancelled", "expired"
]
_Uuid4 = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
_Revision = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Length = Annotated[int, msgspec.Meta(ge=0)]


class StagingReply(msgspec.Struct, frozen=True):
    """Where the sealed recording is PUT, and the headers of that call."""

    method: Literal["PUT"]
    url: str
    headers: dict[str, str]


class SessionFault(msgspec.Struct, frozen=True):
    """Why a session failed."""

    code: str
    message: str


class SessionReply(msgspec.Struct, frozen=True, kw_only=True):
    """A session of an encrypted upload. What is absent in the answer is unset; nothing is null."""

    profile: Literal["encrypted_upload_v2"]
    session_id: _Uuid4
    owner_revision: _Revision
    state: SessionState
    channel: Literal["ble", "wifi", "cellular"]
    policy: Literal["legacy_allowed", "v2_preferred", "v2_required"]
    recording_id: str
    device_id: str
    end_user_id: str
    project_id: str
    ciphertext_length: _Length
    ciphertext_sha256: _Hex
    authorization_base64: str
    authorization_sha256: _Hex
    expires_at: _Time
    published_at: _Time | msgspec.UnsetType = msgspec.UNSET
    plaintext_length: _Length | msgspec.UnsetType = msgspec.UNSET
    completion_receipt_base64: str | msgspec.UnsetType = msgspec.UNSET
    completion_receipt_sha256: _Hex | msgspec.UnsetType = msgspec.UNSET
    staging: StagingReply | msgspec.UnsetType = msgspec.UNSET
    error: SessionFault | msgspec.UnsetType = msgspec.UNSET

    @property
    def expires(self) -> float:
        """Unix seconds."""
        return datetime.fromisoformat(self.expires_at).timestamp()


class ManifestAnswer(msgspec.Struct, frozen=True):
    """The answer to an accepted manifest."""

    session_id: _Uuid4
    owner_revision: _Revision
    state: Literal["ready", "processing", "published"]


class AnnouncedReply(msgspec.Struct, frozen=True):
    """A new recording."""

    id: Annotated[str, msgspec.Meta(min_length=1)]


class _Coded(msgspec.Struct):
    code: str = ""


class _Refused(msgspec.Struct):
    error: _Coded = msgspec.field(default_factory=_Coded)


def read_strictly(content: bytes, kind: type[T]) -> T:
    """A JSON object of whole numbers and of texts that are not empty; no body counts as `{}`.

    Raises SimulationError for anything else.
    """
    try:
        found = msgspec.json.decode(content or b"{}", type=dict[str, object])
        if kind is not AnnouncedReply:
            _walk(found)
        return msgspec.convert(found, kind)
    except (msgspec.DecodeError, ValueError) as fault:
        shown = content[:200].decode(errors="replace")
        raise SimulationError(f"an answer is not as the contract says ({fault}): {shown}") from fault


def document_of(text: str, length: int, digest: str) -> bytes:
    """A document out of base64 (standard, padded, canonical).

    Raises SimulationError unless it has that length in bytes and that SHA-256 (hex).
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise SimulationError(f"a document is not base64: {fault}") from fault
    if base64.b64encode(data).decode() != text:
        raise SimulationError("a document is not canonical base64")
    if len(data) != length or sha256(data).hex() != digest:
        raise SimulationError(f"a document has {len(data)} bytes or another hash, not {length} and {digest}")
    return data


def check_staging(staging: StagingReply, ciphertext_sha256: bytes) -> None:
    """Raises SimulationError when the app would not follow the link, or its headers are not as promised."""
    if not is_safe_url(staging.url):
        raise SimulationError("the link of an upload is neither https nor on this machine")
    names = {name.lower() for name in staging.headers}
    if len(names) != len(staging.headers) or names & (_FORBIDDEN_HEADERS | _HOPS):
        raise SimulationError(f"the link of an upload asks for the headers {sorted(names)}")
    expected = {
        "content-type": "application/octet-stream",
        "x-amz-checksum-sha256": base64.b64encode(ciphertext_sha256).decode(),
    }
    if {name.lower(): value for name, value in staging.headers.items()} != expected:
        raise SimulationError("the headers of an upload are not its content type and its hash alone")


def is_safe_url(url: str) -> bool:
    """Whether a link is https, or http of this machine, without a user and a fragment."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return is_safe and bool(parts.hostname) and "@" not in parts.netloc and "#" not in url


def error_code(content: bytes) -> str:
    """`error.code` of a refusal; empty if there is none."""
    try:
        return msgspec.json.decode(content, type=_Refused).error.code
    except msgspec.DecodeError:
        return ""


def _walk(value: object) -> None:
    """Raises ValueError for what the app does not read: null, fractions and empty texts."""
    if value is None or value == "" or isinstance(value, float):
        raise ValueError(f"{value!r} is in it")
    if isinstance(value, Mapping):
        for each in value.values():  # pyright: ignore[reportUnknownVariableType]
            _walk(each)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            _walk(each)  # pyright: ignore[reportUnknownArgumentType]
