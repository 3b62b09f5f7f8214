"""The contract's structs of firmware."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Count, Sha256, Timestamp
from lapel.foundation.http.input.pagination import Cursor, Offset, PageQuery

Model: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_]{1,64}\Z", examples=["bota_pin_4g"]),
]
# The length that a heartbeat may report. An update to a longer version could never become `applied`.
Version: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}\Z", examples=["1.5.0"]
    ),
]
Sequence: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Crc32: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z", examples=["cbf43926"])]
Hours: TypeAlias = Annotated[
    int,
    msgspec.Meta(
        ge=1, le=8760, description="Hours after which an update that is not applied yet counts as failed."
    ),
]
AssignmentStatus: TypeAlias = Literal["pending", "delivered", "applied", "failed", "cancelled"]
RolloutStatus: TypeAlias = Literal["running", "paused", "halted", "completed"]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Firmware of one version for one model; `bin_crc32` is CRC-32 (IEEE 802.3), 8 hexadecimal digits.

    `release_sequence` and `allow_downgrade` are either both present or both left out. If the release has no
    `ufw` file, the `ufw` fields have the values of the `bin` file.
    """

    id: str
    version: str
    model: str
    is_released: bool
    changelog: str
    bin_sha256: Sha256
    bin_file_size_bytes: Count
    bin_crc32: Crc32
    ufw_sha256: Sha256
    ufw_file_size_bytes: Count
    release_sequence: Sequence | msgspec.UnsetType = msgspec.UNSET
    allow_downgrade: bool | msgspec.UnsetType = msgspec.UNSET
    created_at: Timestamp
    updated_at: Timestamp


class ReleasePage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of releases, newest first. With `device_id` there is one page, of at most 100 releases."""

    data: list[Release]
    has_more: bool | msgspec.UnsetType = msgspec.UNSET
    next_cursor: str | msgspec.UnsetType | None = msgspec.UNSET


class ReleaseQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The releases to list. Without `limit`, a page has 20 releases, or 100 with `device_id`."""

    device_id: Annotated[str, msgspec.Meta(description="Only releases for this device's model.")] | None = (
        None
    )
    limit: (
        Annotated[
            int,
            msgspec.Meta(
                ge=1, le=100, description="The most rows of a page. Default: 20, or 100 with `device_id`."
            ),
        ]
        | None
    ) = None
    cursor: Cursor = ""
    offset: Offset = 0

    @property
    def page(self) -> PageQuery:
        """The parameters of the page, as in every other list."""
        limit = self.limit or (20 if self.device_id is None else 100)
        return PageQuery(limit=limit, cursor=self.cursor, offset=self.offset)


class UploadRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The text fields of a release. A declared size or hash is compared with that of the received file."""

    version: Version
    model: Model
    changelog: Annotated[str, msgspec.Meta(max_length=20_000)] | None = None
    release_sequence: Sequence | None = None
    allow_downgrade: bool = False
    bin_sha256: Sha256 | None = None
    bin_file_size_bytes: Count | None = None


class DownloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The file of a release to download."""

    type: Literal["bin", "ufw"] = "bin"


class FirmwareDownload(msgspec.Struct, frozen=True, kw_only=True):
    """A link to one file of a release, valid until `expires_at`."""

    download_url: Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
    version: str
    sha256: Sha256
    file_size_bytes: Count
    expires_at: Timestamp


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The update that a device should install.

    `bin_sha256`, `bin_file_size_bytes` and `bin_crc32` are the values that were computed when the file was
    uploaded. `release_sequence` and `allow_downgrade` are left out if the release has no sequence. The link
    is valid until `expires_at`; the answer to the next heartbeat has a new link.
    """

    assignment_id: str
    firmware_release_id: str
    version: str
    model: str
    bin_sha256: Sha256
    bin_file_size_bytes: Count
    bin_crc32: Crc32
    release_sequence: Sequence | msgspec.UnsetType = msgspec.UNSET
    allow_downgrade: bool | msgspec.UnsetType = msgspec.UNSET
    download_url: Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]
    expires_at: Timestamp
    deadline_at: Timestamp


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One update offered to one device."""

    id: str
    device_id: str
    firmware_release_id: str
    status: AssignmentStatus
    assigned_at: Timestamp
    delivered_at: Timestamp | None
    applied_at: Timestamp | None
    error_message: str | None


class AssignmentEvent(Assignment, frozen=True, kw_only=True):
    """The data of `ota.…` events: the assignment's fields, and the same object under `assignment`."""

    version: str
    model: str
    project_id: str
    assignment: Assignment


class CurrentAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """The newest update that was offered to a device, in any status; null if there never was one."""

    data: Assignment | None


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the list of a device's updates."""

    limit: Annotated[
        int, msgspec.Meta(ge=1, le=100, description="The number of newest updates to return.")
    ] = 20


class Assignments(msgspec.Struct, frozen=True, kw_only=True):
    """A device's updates, newest first."""

    data: list[Assignment]


class AssignRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The release that a device should install."""

    firmware_release_id: Annotated[str, msgspec.Meta(examples=["fw_0VvPq3xYz8KmW2nLc5RtB7dF"])]
    deadline_hours: Hours = 72


class CreateRollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share of a model's devices that gets a release, and the failure rate at which the rollout halts.

    An unknown field is refused, because with `percent` misspelled all devices would get it.
    """

    model: Model
    percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100
    max_failure_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    deadline_hours: Hours = 72


class RolloutCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a rollout's offers in each status."""

    pending: int = 0
    delivered: int = 0
    applied: int = 0
    failed: int = 0
    cancelled: int = 0


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one release to a share of a model's devices."""

    id: str
    firmware_release_id: str
    model: str
    percent: int
    max_failure_rate: float
    deadline_hours: int
    status: RolloutStatus
    halt_reason: str | None
    counts: RolloutCounts
    created_at: Timestamp
    updated_at: Timestamp


class RolloutPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of rollouts, newest first."""

    data: list[Rollout]
    has_more: bool
    next_cursor: str | None


class RolloutQuery(PageQuery, frozen=True, kw_only=True):
    """The parameters of the list of a release's rollouts."""
