"""Recordings, media and their links (section 9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import (
    WARNINGS,
    agrees,
    all_of,
    array,
    boolean,
    identifier,
    integer,
    lower_hex,
    metadata,
    null_or,
    number,
    record,
    signed_url,
    text,
    time,
    word,
)

_AUDIO = r"audio/(opus|wav|mpeg|mp4|webm|ogg|flac|aac|x-m4a)"
_MIME = {"audio": _AUDIO, "image": r"image/(jpeg|png)", "video": r"video/mp4"}
_ANY_MIME = rf"{_AUDIO}|image/(jpeg|png)|video/mp4"


def _mime_fits(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and value.get("type") in _MIME:
        yield from text(pattern=_MIME[value["type"]])(value.get("mime_type"), f"{at}.mime_type")


_MEDIA = all_of(
    record(
        {
            "id": identifier("med"),
            "type": word("audio", "image", "video"),
            "mime_type": text(1),
            "file_size_bytes": null_or(integer()),
            "status": word("pending", "uploaded", "failed"),
            "captured_at": null_or(time),
            "duration_ms": null_or(integer()),
            "sha256": null_or(lower_hex(64)),
            "created_at": time,
        }
    ),
    _mime_fits,
    agrees(
        "uploaded media have a size and a hash",
        lambda it: it["status"] != "uploaded" or None not in (it["file_size_bytes"], it["sha256"]),
    ),
)
RECORDING = all_of(
    record(
        {
            "id": identifier("rec"),
            "project_id": identifier("proj"),
            "device_id": null_or(identifier("dev")),
            "end_user_id": identifier("eu"),
            "name": null_or(text(0, 255)),
            "status": word("pending", "uploaded", "failed", "integrity_failure"),
            "source": word("device", "app_import", "api_upload"),
            "upload_method": null_or(text(pattern=r"[a-z0-9_]{1,64}")),
            "duration_ms": null_or(integer()),
            "claimed_duration_ms": null_or(integer()),
            "duration_seconds": null_or(integer()),
            "damaged": null_or(boolean),
            "warnings": WARNINGS,
            "started_at": null_or(time),
            "ended_at": null_or(time),
            "recorded_at": null_or(time),
            "transcription_id": null_or(identifier("txn")),
            "media": array(_MEDIA, most=500),
            "metadata": metadata,
            "content_sha256": null_or(lower_hex(64)),
            "content_sha256_verified_at": null_or(time),
            "file_size_bytes": null_or(integer()),
            "mime_type": null_or(text(pattern=_AUDIO)),
            "recording_uuid": null_or(text(pattern=r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
            "recording_generation": null_or(integer(1, 2**32 - 1)),
            "encryption_version": null_or(integer(1)),
            "consent_obtained": boolean,
            "created_at": time,
            "updated_at": time,
            "uploaded_at": null_or(time),
            "deleted_at": null_or(time),
        }
    ),
    agrees("at most one audio", lambda it: sum(each["type"] == "audio" for each in it["media"]) <= 1),
    agrees(
        "recording_uuid and recording_generation: both or neither",
        lambda it: (it["recording_uuid"] is None) == (it["recording_generation"] is None),
    ),
    agrees(
        "nothing is verified without a hash",
        lambda it: it["content_sha256"] is not None or it["content_sha256_verified_at"] is None,
    ),
    agrees("uploaded has a time", lambda it: it["status"] != "uploaded" or it["uploaded_at"] is not None),
)
DELETED = record(
    {"id": identifier("rec"), "project_id": identifier("proj"), "created_at": time, "deleted_at": time}
)
UPLOAD_URL = record(
    {
        "media_id": identifier("med"),
        "upload_url": signed_url,
        "method": word("PUT"),
        "headers": record(
            {"Content-Type": text(pattern=_ANY_MIME)},
            {"x-amz-checksum-sha256": text(pattern=r"[A-Za-z0-9+/]{43}=")},
        ),
        "content_type": text(pattern=_ANY_MIME),
        "expires_at": time,
        "expires_in": integer(3600, 3600),
        "upload_token": text(pattern=r"up_[A-Za-z0-9]+"),
        "complete_url": text(pattern=r"https?://[!-~]+/v1/recordings/rec_[A-Za-z0-9]{24}/upload-complete"),
    }
)
_LINK = {
    "download_url": signed_url,
    "media_id": identifier("med"),
    "content_type": text(pattern=_ANY_MIME),
    "file_size_bytes": integer(),
    "expires_at": time,
}
DOWNLOAD_URL = record(_LINK)
AUDIO_URL = record(_LINK | {"expires_in": integer(1, 604_800)})
WAVEFORM = record({"duration_ms": integer(), "peaks": array(number(0, 1), most=4000)})
