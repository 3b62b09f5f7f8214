"""Answers that the contract allows, to plant faults in."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]
AT = "2026-01-15T12:00:00.000Z"
SHA = "ab" * 32


def an_id(prefix: str) -> str:
    """An id of the right form."""
    return f"{prefix}_{'0VbwYZTSBJlceN7XPBaIX5II'}"


USER: Json = {
    "id": an_id("eu"),
    "external_id": None,
    "name": "Ada",
    "email": None,
    "metadata": {"a": 1},
    "project_id": an_id("proj"),
    "created_at": AT,
    "updated_at": AT,
    "deleted_at": None,
}
WEBHOOK: Json = {
    "id": an_id("wh"),
    "project_id": an_id("proj"),
    "url": "https://example.com/lapel",
    "events": ["recording.uploaded", "webhook.disabled"],
    "description": None,
    "metadata": {},
    "status": "enabled",
    "disabled_reason": None,
    "verified_at": AT,
    "recovery": None,
    "created_at": AT,
    "updated_at": AT,
}
DELIVERY: Json = {
    "id": an_id("whd"),
    "webhook_id": an_id("wh"),
    "event_id": an_id("evt"),
    "event_type": "recording.uploaded",
    "status": "succeeded",
    "attempt_count": 1,
    "last_attempt_at": AT,
    "response_status": 200,
    "error": None,
    "next_attempt_at": None,
    "ended_at": AT,
    "created_at": AT,
    "attempts": [
        {
            "number": 1,
            "started_at": AT,
            "latency_ms": 12,
            "response_status": 200,
            "error": None,
            "response_body": "ok",
        }
    ],
}
DEVICE: Json = {
    "id": an_id("dev"),
    "serial_number": "PIN4G0042",
    "model": "bota_pin",
    "device_type": "bota_pin",
    "name": None,
    "firmware_version": None,
    "status": "bound",
    "end_user_id": an_id("eu"),
    "binding_generation": 1,
    "bound_at": AT,
    "battery_percent": 80,
    "storage_used_mb": 10,
    "storage_total_mb": 100,
    "signal_strength_dbm": -70,
    "last_heartbeat_at": AT,
    "last_seen_at": AT,
    "last_synced_at": None,
    "recording_state": {
        "device_state": "idle",
        "pending_recordings": 0,
        "flags": 1,
        "connection_type": ["wifi"],
    },
    "metadata": {},
    "settings": {"audio": {"codec": "opus"}},
    "project_id": an_id("proj"),
    "created_at": AT,
    "updated_at": AT,
    "deleted_at": None,
}
MEDIA: Json = {
    "id": an_id("med"),
    "type": "audio",
    "mime_type": "audio/opus",
    "file_size_bytes": 256,
    "status": "uploaded",
    "captured_at": None,
    "duration_ms": 2500,
    "sha256": SHA,
    "created_at": AT,
}
RECORDING: Json = {
    "id": an_id("rec"),
    "project_id": an_id("proj"),
    "device_id": None,
    "end_user_id": an_id("eu"),
    "name": None,
    "status": "uploaded",
    "source": "api_upload",
    "upload_method": None,
    "duration_ms": 2500,
    "claimed_duration_ms": None,
    "damaged": True,
    "warnings": [
        {
            "code": "audio_gap",
            "message": "1.0 s of audio are missing at 0:00:02: a part of the file is damaged or lost.",
            "start_ms": 2000,
            "end_ms": 2000,
            "missing_ms": 1000,
        }
    ],
    "duration_seconds": 3,
    "started_at": None,
    "ended_at": None,
    "recorded_at": None,
    "transcription_id": None,
    "media": [MEDIA],
    "metadata": {},
    "content_sha256": SHA,
    "content_sha256_verified_at": AT,
    "file_size_bytes": 256,
    "mime_type": "audio/opus",
    "recording_uuid": None,
    "recording_generation": None,
    "encryption_version": None,
    "consent_obtained": False,
    "created_at": AT,
    "updated_at": AT,
    "uploaded_at": AT,
    "deleted_at": None,
}
WORD: Json = {"start": 0.0, "end": 0.5, "word": "Good", "confidence": 0.9}
SEGMENT: Json = {"start": 0.0, "end": 1.5, "text": "Good morning.", "speaker": "SPEAKER_0", "confidence": 0.9}
TRANSCRIPTION: Json = {
    "id": an_id("txn"),
    "project_id": an_id("proj"),
    "recording_id": an_id("rec"),
    "status": "completed",
    "progress": 1.0,
    "language": "en",
    "provider": "whisper",
    "model": "base",
    "diarization": True,
    "duration_ms": 1500,
    "full_text": "Good morning.",
    "text": "Good morning.",
    "segments": [SEGMENT],
    "word_count": 2,
    "confidence": 0.9,
    "error": None,
    "error_message": None,
    "warnings": [],
    "damaged": False,
    "started_at": AT,
    "completed_at": AT,
    "created_at": AT,
    "updated_at": AT,
}
SUMMARY: Json = {
    "id": an_id("sum"),
    "project_id": an_id("proj"),
    "recording_id": an_id("rec"),
    "transcription_id": an_id("txn"),
    "status": "completed",
    "template_id": "tmpl_legal_memo",
    "template": "legal_memo",
    "template_version": 1,
    "custom_prompt": None,
    "provider": "gemini",
    "model": "extractive",
    "output": {
        "facts": "A car left the roundabout.",
        "issues": ["Did it signal?"],
        "analysis": None,
        "conclusion": None,
        "parties_involved": [],
        "evidence": {
            "facts": [[{"start_ms": 0, "end_ms": 1500}]],
            "issues": [[{"start_ms": 2000, "end_ms": 2500}]],
            "analysis": [],
            "conclusion": [],
            "parties_involved": [],
        },
    },
    "warnings": [
        {"code": "empty_field", "message": "It is empty.", "field": name}
        for name in ("analysis", "conclusion", "parties_involved")
    ],
    "error": None,
    "error_message": None,
    "started_at": AT,
    "completed_at": AT,
    "created_at": AT,
    "updated_at": AT,
}
DEFINITION: Json = {
    "section": "ota",
    "description": "How.",
    "defaults": {"auto_update": {"enabled": False}, "source": "service"},
    "levels": ["organization", "project", "end_user", "device"],
    "merge_strategy": "merge_deep",
}
CONFIG: Json = {"value": DEFINITION["defaults"], "source": "default", "definition": DEFINITION}
RELEASE: Json = {
    "id": an_id("fw"),
    "version": "1.4.2",
    "model": "bota_pin",
    "is_released": True,
    "changelog": "",
    "bin_sha256": SHA,
    "bin_file_size_bytes": 1,
    "bin_crc32": "00ff00ff",
    "ufw_sha256": SHA,
    "ufw_file_size_bytes": 1,
    "created_at": AT,
    "updated_at": AT,
}
COMMAND: Json = {
    "id": an_id("cmd"),
    "device_id": an_id("dev"),
    "type": "start_recording",
    "status": "pending",
    "params": {},
    "grant_token": "a.b.c",
    "result": None,
    "error": None,
    "expires_at": AT,
    "delivered_at": None,
    "executed_at": None,
    "created_at": AT,
}
LINK: Json = {
    "download_url": "https://store.example.com/b/k?X-Amz-Signature=a",
    "media_id": an_id("med"),
    "content_type": "audio/opus",
    "file_size_bytes": 256,
    "expires_at": AT,
    "expires_in": 3600,
}
ASSIGNED: Json = {
    "data": {
        "id": an_id("ota"),
        "device_id": an_id("dev"),
        "firmware_release_id": an_id("fw"),
        "status": "pending",
        "assigned_at": AT,
        "delivered_at": None,
        "applied_at": None,
        "error_message": None,
    }
}
SESSION: Json = {
    "profile": "encrypted_upload_v2",
    "session_id": "2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11",
    "owner_revision": 1,
    "state": "published",
    "channel": "ble",
    "policy": "v2_required",
    "recording_id": an_id("rec"),
    "device_id": an_id("dev"),
    "end_user_id": an_id("eu"),
    "project_id": an_id("proj"),
    "ciphertext_length": 330,
    "ciphertext_sha256": SHA,
    "authorization_base64": "A" * 544,
    "authorization_sha256": SHA,
    "expires_at": AT,
    "published_at": AT,
    "plaintext_length": 38,
    "completion_receipt_base64": "A" * 448,
    "completion_receipt_sha256": SHA,
}
STAGING: Json = {
    "method": "PUT",
    "url": "https://store.example.com/b/sealed/a?X-Amz-Signature=b",
    "headers": {
        "Content-Type": "application/octet-stream",
        "x-amz-checksum-sha256": "A" * 43 + "=",
    },
}


def with_change(sample: Json, path: str, value: object) -> Json:
    """A copy with another value at a dotted path; the value KeyError takes the key out."""
    changed: Any = copy.deepcopy(sample)
    *above, last = path.split(".")
    at = changed
    for name in above:
        at = at[int(name) if isinstance(at, list) else name]
    if value is KeyError:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return changed
