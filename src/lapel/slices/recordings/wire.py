"""The contract's structs of recordings and media."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import msgspec

from lapel.foundation.core.file_names import Disposition
from lapel.foundation.http.input.fields import ClientObject, Count, Moment, Sha256, Timestamp
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.recordings.content_types import CONTENT_TYPES, MediaType, names_of

Source = Literal["device", "app_import", "api_upload"]
RecordingStatus = Literal["pending", "uploaded", "failed", "integrity_failure"]
# A media that is being verified is shown as pending.
ShownMediaStatus = Literal["pending", "uploaded", "failed"]
# Older clients filter by `streaming`, `processing` and `completed`. No recording has such a status.
StatusFilter = Literal[
    "pending", "uploaded", "failed", "integrity_failure", "streaming", "processing", "completed"
]

Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=255, examples=["Weekly planning"])]
Metadata: TypeAlias = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
# The decoder lets 0 pass, so that `start` can say in words that the file is empty.
FileSize: TypeAlias = Annotated[int, msgspec.Meta(le=2**53 - 1, extra_json_schema={"minimum": 1})]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=31_536_000, examples=[25.4])]
UploadMethod: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,64}\Z", examples=["ble"])]
Uuid: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z",
        examples=["2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11"],
        description="Answered in lower case. Give it together with `recording_generation`, or neither.",
    ),
]
Generation: TypeAlias = Annotated[
    int,
    msgspec.Meta(
        ge=1, le=2**32 - 1, examples=[1], description="Give it together with `recording_uuid`, or neither."
    ),
]
LinkSeconds: TypeAlias = Annotated[
    int, msgspec.Meta(ge=60, le=604_800, description="The lifetime of the link in seconds.")
]
# Fits a PostgreSQL integer.
EncryptionVersion: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a recording. Once it is uploaded, size and SHA-256 are those of the stored bytes."""

    id: str
    type: MediaType
    mime_type: str
    file_size_bytes: int | None
    status: ShownMediaStatus
    captured_at: Timestamp | None
    duration_ms: int | None
    sha256: str | None
    created_at: Timestamp


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One recording. `content_sha256`, `file_size_bytes` and `mime_type` describe its audio.

    `claimed_duration_ms` is the duration that a client declared, if the measured one differs by more than a
    second; else null. `damaged`: whether audio is missing or cannot be read, as `warnings` say; null until
    the audio is examined, shortly after its upload.
    """

    id: str
    project_id: str
    device_id: str | None
    end_user_id: str
    name: str | None
    status: RecordingStatus
    source: Source
    upload_method: str | None
    duration_ms: int | None
    claimed_duration_ms: int | None
    duration_seconds: int | None
    started_at: Timestamp | None
    ended_at: Timestamp | None
    recorded_at: Timestamp | None
    transcription_id: str | None
    media: list[Media]
    metadata: Metadata
    content_sha256: str | None
    content_sha256_verified_at: Timestamp | None
    file_size_bytes: int | None
    mime_type: str | None
    recording_uuid: str | None
    recording_generation: int | None
    encryption_version: int | None
    consent_obtained: bool
    created_at: Timestamp
    updated_at: Timestamp
    uploaded_at: Timestamp | None
    damaged: bool | None
    warnings: list[TimedWarning]
    deleted_at: Timestamp | None = None


class RecordingPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of recordings, newest first."""

    data: list[Recording]
    has_more: bool
    next_cursor: str | None


class CreateRecording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording to announce. If a device calls, its token gives the device and the end user."""

    end_user_id: Id | None = None
    device_id: Id | None = None
    name: Name | None = None
    source: Source | None = None
    upload_method: UploadMethod | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    recorded_at: Moment | None = None
    metadata: ClientObject | None = None
    consent_obtained: bool | None = None
    recording_uuid: Uuid | None = None
    recording_generation: Generation | None = None
    encryption_version: EncryptionVersion | None = None


class UpdateRecording(msgspec.Struct, frozen=True, kw_only=True):
    """Absent fields stay, null clears, `metadata` is replaced as a whole."""

    name: Name | msgspec.UnsetType | None = msgspec.UNSET
    metadata: ClientObject | msgspec.UnsetType | None = msgspec.UNSET
    started_at: Moment | msgspec.UnsetType | None = msgspec.UNSET
    ended_at: Moment | msgspec.UnsetType | None = msgspec.UNSET


class RecordingQuery(PageQuery, frozen=True, kw_only=True):
    """The page and the filters of a list of recordings."""

    device_id: str | None = None
    end_user_id: str | None = None
    status: StatusFilter | None = None
    recorded_after: (
        Annotated[
            Moment, msgspec.Meta(description="Only recordings with `recorded_at` at this time or later.")
        ]
        | None
    ) = None
    recorded_before: (
        Annotated[Moment, msgspec.Meta(description="Only recordings with `recorded_at` before this time.")]
        | None
    ) = None


class StartUpload(msgspec.Struct, frozen=True, kw_only=True):
    """The media to upload. If size or SHA-256 is given, the signature of the URL covers it."""

    json_rules: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {
                "properties": {
                    "type": {"const": kind},
                    "content_type": {
                        "anyOf": [
                            {"enum": [*names_of(kind), None]},
                            {
                                "type": "string",
                                "pattern": f"^({'|'.join(names_of(kind)).replace('.', '[.]')});",
                            },
                        ]
                    },
                },
                **({} if kind == "audio" else {"required": ["type"]}),
            }
            for kind in CONTENT_TYPES
        ]
    }

    type: MediaType = "audio"
    content_type: Annotated[str, msgspec.Meta(max_length=127, examples=["audio/opus"])] | None = None
    file_size_bytes: FileSize | None = None
    captured_at: Moment | None = None
    sha256: Sha256 | None = None


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """The URL to PUT the bytes to, and the headers that the client must send exactly as given."""

    media_id: str
    upload_url: str
    method: Literal["PUT"] = "PUT"
    headers: dict[str, str]
    content_type: str
    expires_at: Timestamp
    expires_in: int
    upload_token: str
    complete_url: str


class CompleteUpload(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that the client declares about the recording's audio; all are optional.

    If the recording has no audio, the facts describe its only pending media.
    """

    content_sha256: Sha256 | None = None
    file_size_bytes: Count | None = None
    duration_seconds: Seconds | None = None

    @property
    def duration_ms(self) -> int | None:
        """The duration in milliseconds."""
        return None if self.duration_seconds is None else round(self.duration_seconds * 1000)

    @property
    def first_given(self) -> str | None:
        """The name of the first fact that was given; None when no fact was given."""
        return next((name for name in self.__struct_fields__ if getattr(self, name) is not None), None)


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The media to link to, and the form of the store's answer."""

    media_id: Id
    disposition: Disposition = "inline"
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    expires_in: LinkSeconds = 3600


class DownloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the store's answer with the recording's audio."""

    disposition: Disposition = "inline"
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    expires_in: LinkSeconds = 3600


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A signed link to one media. The size is that of the stored bytes; the type is the declared type."""

    download_url: str
    media_id: str
    content_type: str
    file_size_bytes: int
    expires_at: Timestamp


class AudioDownload(Download, frozen=True, kw_only=True):
    """A signed link to the recording's audio; `expires_in` is its lifetime in seconds."""

    expires_in: int
