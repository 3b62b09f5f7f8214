"""About the least that can answer `GET /v1/recordings`: one asyncpg query, whose media are JSON, and msgspec.

No router, no scopes, no limits, no filters, no request ids, no metrics; a page has no limit of bytes.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from benchmarks.peers.bare import Bare

if TYPE_CHECKING:
    import asyncpg

_LIST = """
SELECT r.id, r.device_id, r.end_user_id, r.name, r.status, r.source, r.upload_method, r.duration_ms,
    r.claimed_duration_ms, r.started_at, r.ended_at, r.recorded_at, r.transcription_id, own.media, r.metadata,
    r.content_sha256, r.content_sha256_verified_at, r.file_size_bytes, r.mime_type, r.recording_uuid,
    r.recording_generation, r.encryption_version, r.consent_obtained, r.created_at, r.updated_at,
    r.uploaded_at
FROM (
    SELECT * FROM recordings r WHERE r.world_id = $1 AND r.deleted_at IS NULL
    ORDER BY r.created_at DESC, r.id DESC LIMIT 21
) r LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', m.id, 'type', m.type, 'mime_type', m.content_type, 'file_size_bytes', m.file_size_bytes,
        'status', m.status,
        'captured_at', to_char(m.captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'duration_ms', m.duration_ms, 'sha256', m.sha256,
        'created_at', to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    ) ORDER BY m.created_at, m.id) AS media
    FROM media m WHERE m.world_id = r.world_id AND m.recording_id = r.id
) own ON true ORDER BY r.created_at DESC, r.id DESC
"""


class Recording(msgspec.Struct):
    """One recording of an answer."""

    id: str
    project_id: str
    device_id: str | None
    end_user_id: str
    name: str | None
    status: str
    source: str
    upload_method: str | None
    duration_ms: int | None
    claimed_duration_ms: int | None
    duration_seconds: int | None
    started_at: str | None
    ended_at: str | None
    recorded_at: str | None
    transcription_id: str | None
    media: msgspec.Raw
    metadata: msgspec.Raw
    content_sha256: str | None
    content_sha256_verified_at: str | None
    file_size_bytes: int | None
    mime_type: str | None
    recording_uuid: str | None
    recording_generation: int | None
    encryption_version: int | None
    consent_obtained: bool
    created_at: str
    updated_at: str
    uploaded_at: str | None
    deleted_at: str | None


class Page(msgspec.Struct):
    """The body of an answer."""

    data: list[Recording]
    has_more: bool
    next_cursor: str | None


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class BareList(Bare):
    """The ASGI application."""

    async def answer(self, path: str, world_id: int | None, content: bytes) -> tuple[int, bytes]:  # noqa: ARG002 - Bare's
        """Status and body of one request."""
        if world_id is None:
            return 401, b"{}"
        if path != "/v1/recordings":
            return 404, b"{}"
        rows = await self.pool.fetch(_LIST, world_id)
        data = [_shown(row) for row in rows[:20]]
        last = rows[19] if len(rows) > 20 else None
        cursor = (
            None if last is None else urlsafe_b64encode(f"{last['created_at']}{last['id']}".encode()).decode()
        )
        return 200, self.encode(Page(data, last is not None, cursor))


def _shown(row: asyncpg.Record) -> Recording:
    return Recording(
        id=row["id"],
        project_id="proj_0VxBenchmarksProject0000",
        device_id=row["device_id"],
        end_user_id=row["end_user_id"],
        name=row["name"],
        status=row["status"],
        source=row["source"],
        upload_method=row["upload_method"],
        duration_ms=row["duration_ms"],
        claimed_duration_ms=row["claimed_duration_ms"],
        duration_seconds=None if row["duration_ms"] is None else (row["duration_ms"] + 500) // 1000,
        started_at=_time(row["started_at"]),
        ended_at=_time(row["ended_at"]),
        recorded_at=_time(row["recorded_at"]),
        transcription_id=row["transcription_id"],
        media=msgspec.Raw((row["media"] or "[]").encode()),
        metadata=msgspec.Raw(row["metadata"].encode()),
        content_sha256=row["content_sha256"],
        content_sha256_verified_at=_time(row["content_sha256_verified_at"]),
        file_size_bytes=row["file_size_bytes"],
        mime_type=row["mime_type"],
        recording_uuid=row["recording_uuid"],
        recording_generation=row["recording_generation"],
        encryption_version=row["encryption_version"],
        consent_obtained=row["consent_obtained"],
        created_at=_time(row["created_at"]) or "",
        updated_at=_time(row["updated_at"]) or "",
        uploaded_at=_time(row["uploaded_at"]),
        deleted_at=None,
    )


app = BareList()
