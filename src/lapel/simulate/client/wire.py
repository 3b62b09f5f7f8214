"""The parts of the API's answers that the simulation reads."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class CreatedReply(msgspec.Struct):
    """Any new resource."""

    id: str


class Bound(msgspec.Struct):
    """The answer to a binding."""

    device_token: str
    binding_generation: int


class Token(msgspec.Struct):
    """A refreshed token."""

    device_token: str


class CommandReply(msgspec.Struct):
    """A command."""

    id: str
    type: str
    status: str
    grant_token: str


class ManifestReply(msgspec.Struct):
    """Firmware that a device should run."""

    assignment_id: str
    version: str
    model: str
    bin_sha256: str
    bin_file_size_bytes: int
    bin_crc32: str
    download_url: str


class Beat(msgspec.Struct):
    """The answer to a heartbeat."""

    status: str
    commands: list[CommandReply]
    ota: ManifestReply | None
    config_revision: int
    accepted_event_ids: list[str]


class UploadReply(msgspec.Struct):
    """The signed link of an upload, and the headers to send."""

    media_id: str
    upload_url: str
    headers: dict[str, str]
    upload_token: str


class MediaReply(msgspec.Struct):
    """One media object of a recording."""

    id: str
    status: str
    sha256: str | None
    file_size_bytes: int | None


class RecordingReply(msgspec.Struct):
    """A recording."""

    id: str
    status: str
    recording_uuid: str | None
    media: list[MediaReply]
    metadata: dict[str, object] = msgspec.field(default_factory=dict[str, object])


class DownloadReply(msgspec.Struct):
    """A signed link."""

    download_url: str


class GrantReply(msgspec.Struct):
    """A Wi-Fi grant."""

    grant_blob: str


class AssignmentReply(msgspec.Struct):
    """A firmware assignment: one update offered to one device."""

    id: str
    status: str


class ShownDevice(msgspec.Struct):
    """A device as the backend sees it."""

    id: str
    status: str
    end_user_id: str | None
    binding_generation: int
    firmware_version: str | None
    last_heartbeat_at: str | None


class PageReply(msgspec.Struct, Generic[T]):
    """One page of a list."""

    data: list[T]
    has_more: bool = False
    next_cursor: str | None = None
