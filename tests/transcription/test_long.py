"""Transcripts that are as long as one may be: read, listed and exported whole."""

from __future__ import annotations

import json

from lapel.foundation.ports import Ports
from tests.recordings.support import Device

INSERT = """
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, progress, provider,
    diarization, model, duration_ms, full_text, segments, completed_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'request', 'completed', 1, 'whisper', false, 'made up', 1, $5, $6, now(), now(),
    now())
"""


async def test_a_long_transcript_is_answered_whole(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(b"a long talk")
    said = "word " * 1000 + "end."
    segments = [{"start": i, "end": i + 0.5, "text": said, "confidence": 0.9} for i in range(200)]
    name, full_text = "txn_" + recording_id.removeprefix("rec_"), " ".join([said] * 200)
    async with ports.database.acquire() as connection:
        given = (device.tenant.test_world, name, recording_id, media_id, full_text)
        await connection.execute(INSERT, *given, json.dumps(segments).encode())
    read = await device.call("GET", f"/v1/transcriptions/{name}", 200)
    assert (read["segments"], read["full_text"], read["text"]) == (segments, full_text, full_text)
    listed = await device.call("GET", f"/v1/transcriptions?recording_id={recording_id}&include=segments", 200)
    assert listed["data"] == [read]
    exported = await device.client.get(
        f"/v1/transcriptions/{name}/export?format=json", headers=device.headers
    )
    assert exported.json()["segments"] == segments
    assert (await device.client.head(f"/v1/transcriptions/{name}", headers=device.headers)).status_code == 200
    await device.call("GET", "/v1/transcriptions/txn_unknown", 404)
