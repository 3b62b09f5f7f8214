"""The structs of the files that only an export has. All other files have the structs of the API."""

from __future__ import annotations

import msgspec

from lapel.foundation.http.input.fields import Timestamp


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the zip: its bytes before compression, and their SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """Data that is not in the zip, and the reason.

    `path`: where the data would be. If `is_cut`, the zip has a file at this path that ends early.
    """

    path: str
    reason: str
    is_cut: bool


class ExportHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first fields of `manifest.json`; the lists `left_out` and `files` follow."""

    end_user_id: str
    project_id: str
    created_at: Timestamp


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a device last reported.

    `state`: the answer of `GET /v1/devices/{device_id}/state`. `client_context`: any JSON, as the device sent
    it.
    """

    state: msgspec.Struct
    client_context: msgspec.Raw
