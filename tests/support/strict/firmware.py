"""Firmware releases and their assignments to devices (section 15)."""

from __future__ import annotations

from tests.support.strict.shapes import (
    agrees,
    all_of,
    array,
    boolean,
    identifier,
    integer,
    lower_hex,
    null_or,
    record,
    signed_url,
    text,
    time,
    word,
)

_VERSION = text(1, 32, r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SIZE = integer(1, 64 * 2**20)
RELEASE = all_of(
    record(
        {
            "id": identifier("fw"),
            "version": _VERSION,
            "model": text(pattern=r"[a-z0-9_]{1,64}"),
            "is_released": boolean,
            "changelog": text(),
            "bin_sha256": lower_hex(64),
            "bin_file_size_bytes": _SIZE,
            "bin_crc32": lower_hex(8),
            "ufw_sha256": lower_hex(64),
            "ufw_file_size_bytes": _SIZE,
            "created_at": time,
            "updated_at": time,
        },
        {"release_sequence": integer(1), "allow_downgrade": boolean},
    ),
    agrees(
        "release_sequence and allow_downgrade: both or neither",
        lambda it: ("release_sequence" in it) == ("allow_downgrade" in it),
    ),
)
RELEASES = record({"data": array(RELEASE, most=100)})
DOWNLOAD_URL = record(
    {
        "download_url": signed_url,
        "version": _VERSION,
        "sha256": lower_hex(64),
        "file_size_bytes": _SIZE,
        "expires_at": time,
    }
)
ASSIGNMENT = record(
    {
        "id": identifier("ota"),
        "device_id": identifier("dev"),
        "firmware_release_id": identifier("fw"),
        "status": word("pending", "delivered", "applied", "failed", "cancelled"),
        "assigned_at": time,
        "delivered_at": null_or(time),
        "applied_at": null_or(time),
        "error_message": null_or(text()),
    }
)
ASSIGNED = record({"data": null_or(ASSIGNMENT)})
HISTORY = record({"data": array(ASSIGNMENT, most=100)})
