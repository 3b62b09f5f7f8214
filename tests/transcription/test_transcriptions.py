"""Transcriptions over HTTP: asked for, listed, read, exported, erased; and the waveform."""

from __future__ import annotations

import asyncio
import json
import re

import msgspec
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import SCOPES
from lapel.slices.transcription import fact_queries
from lapel.slices.transcription.events import transcription_body
from lapel.slices.transcription.wire import Transcription
from tests.contract.strict_samples import AT, SEGMENT, TRANSCRIPTION, an_id
from tests.recordings.support import Device, events_of
from tests.support.spoken import FACTS, TRANSCRIPT, complete_transcription, look_at_audio
from tests.support.strict.events import check_event
from tests.support.tenants import bearer, make_key

ALWAYS = {
    "id", "project_id", "recording_id", "status", "progress", "language", "provider", "model", "diarization",
    "duration_ms", "full_text", "text", "word_count", "confidence", "error", "error_message", "started_at",
    "completed_at", "created_at", "updated_at", "warnings", "damaged",
}  # fmt: skip
SOUND = b"OggS" + bytes(200)


async def asked(device: Device, **wish: object) -> tuple[str, str, dict[str, object]]:
    """An uploaded recording, its media, and a transcription that was asked for."""
    recording_id, media_id = await device.upload(SOUND)
    made = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id, **wish})
    return recording_id, media_id, made


async def test_a_new_one_is_pending_and_has_every_field(device: Device) -> None:
    recording_id, _, made = await asked(device, language="de-CH", provider="deepgram", diarization=False)
    assert set(made) == ALWAYS | {"segments"}
    assert (made["status"], made["progress"], made["segments"]) == ("pending", 0.0, None)
    assert (made["language"], made["provider"], made["diarization"]) == ("de-CH", "deepgram", False)
    assert made["recording_id"] == recording_id
    assert made["project_id"] == device.tenant.project_id
    assert await device.call("GET", f"/v1/transcriptions/{made['id']}", 200) == made
    assert (await device.read(recording_id))["transcription_id"] == made["id"]


async def test_without_an_uploaded_audio_there_is_nothing_to_transcribe(device: Device) -> None:
    recording_id = await device.recording()
    for path, body in (
        ("/v1/transcriptions", {"recording_id": recording_id}),
        (f"/v1/recordings/{recording_id}/transcribe", {}),
    ):
        refused = await device.post(path, 409, body)
        assert refused["error"]["code"] == "media_not_uploaded"
    assert (await device.call("GET", f"/v1/recordings/{recording_id}/waveform", 409))["error"]["code"] == (
        "media_not_uploaded"
    )


async def test_one_under_way_is_named_until_it_is_ten_minutes_old(device: Device, ports: Ports) -> None:
    recording_id, _, made = await asked(device)
    refused = await device.post("/v1/transcriptions", 409, {"recording_id": recording_id})
    assert refused["error"]["code"] == "transcription_in_progress"
    assert refused["error"]["resource_id"] == made["id"]

    async def aged(by: str) -> None:
        async with ports.database.acquire() as connection:
            await connection.execute(
                "UPDATE transcriptions SET created_at = now() - $2::text::interval WHERE id = $1",
                made["id"],
                by,
            )

    await aged("9 minutes")
    for path, body in (
        ("/v1/transcriptions", {"recording_id": recording_id}),
        (f"/v1/recordings/{recording_id}/transcribe", {}),
    ):
        refused = await device.post(path, 409, body)
        assert refused["error"]["code"] == "transcription_in_progress"
    await aged("10 minutes")
    again = await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    assert (await device.read(recording_id))["transcription_id"] == again["id"]


async def test_once_a_newer_one_is_completed_the_older_ones_leave_the_lists(
    device: Device, ports: Ports
) -> None:
    recording_id, _, first = await asked(device)
    _, _, others = await asked(device)

    async def another() -> str:
        async with ports.database.acquire() as connection:  # what is under way is given up
            await connection.execute(
                "UPDATE transcriptions SET created_at = created_at - interval '11 minutes'"
                " WHERE recording_id = $1",
                recording_id,
            )
        return (await device.post("/v1/transcriptions", 201, {"recording_id": recording_id}))["id"]

    async def check(listed: list[object], current: object) -> None:
        for query in (f"recording_id={recording_id}", "", "include=segments", "include=words"):
            page = await device.call("GET", f"/v1/transcriptions?{query}", 200)
            assert [each["id"] for each in page["data"] if each["id"] != others["id"]] == listed
        assert (await device.read(recording_id))["transcription_id"] == current

    world_id, old = device.tenant.test_world, str(first["id"])
    await complete_transcription(ports, world_id, old)
    second = await another()
    await check([second, old], old)
    third = await another()
    await check([third, second, old], old)
    await complete_transcription(ports, world_id, third)
    await check([third], third)
    # One that was overtaken changes nothing more.
    await complete_transcription(ports, world_id, second)
    await check([third], third)
    for query in ("status=completed", "status=pending"):
        page = await device.call("GET", f"/v1/transcriptions?{query}&recording_id={recording_id}", 200)
        assert [each["id"] for each in page["data"]] == ([third] if query.endswith("completed") else [])
    assert (await device.call("GET", f"/v1/transcriptions/{old}", 200))["status"] == "completed"
    assert (await device.call("GET", "/v1/transcriptions", 200))["data"][-1]["id"] == others["id"]


async def test_of_two_at_once_one_begins(device: Device) -> None:
    recording_id, _ = await device.upload(SOUND)
    answers = await asyncio.gather(
        *(
            device.client.post(
                "/v1/transcriptions", json={"recording_id": recording_id}, headers=device.headers
            )
            for _ in range(6)
        )
    )
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409, 409, 409]


async def test_a_repeat_with_the_same_key_is_answered_with_the_one_that_was_made(device: Device) -> None:
    recording_id, _ = await device.upload(SOUND)
    body, key = {"recording_id": recording_id}, {"Idempotency-Key": "once"}
    first = await device.post("/v1/transcriptions", 201, body, **key)
    assert await device.post("/v1/transcriptions", 201, body, **key) == first


async def test_a_completed_one_has_its_transcript(device: Device, ports: Ports) -> None:
    _, _, made = await asked(device)
    await complete_transcription(ports, device.tenant.test_world, str(made["id"]))
    done = await device.call("GET", f"/v1/transcriptions/{made['id']}", 200)
    assert (done["status"], done["progress"], done["model"]) == ("completed", 1.0, "whisper-base")
    said = json.loads(msgspec.json.encode(TRANSCRIPT.segments))
    assert done["segments"] == [{k: v for k, v in each.items() if k != "words"} for each in said]
    assert done["full_text"] == done["text"] == "Good morning, everybody. Hello."
    assert (done["word_count"], done["duration_ms"]) == (4, 4000)
    assert done["confidence"] == TRANSCRIPT.confidence
    listed = (await device.call("GET", "/v1/transcriptions", 200))["data"]
    assert [set(each) for each in listed] == [ALWAYS]
    whole = (await device.call("GET", "/v1/transcriptions?include=segments", 200))["data"]
    assert whole == [done]
    with_words = await device.call("GET", f"/v1/transcriptions/{made['id']}?include=words", 200)
    assert with_words["segments"] == [{"words": [], **each} for each in said]
    assert any(each["words"] for each in with_words["segments"])
    assert (await device.call("GET", "/v1/transcriptions?include=words", 200))["data"] == [with_words]
    assert await device.call("GET", f"/v1/transcriptions/{made['id']}?include=segments", 200) == done


async def test_words_of_a_transcription_from_before_are_left_out_too(device: Device, ports: Ports) -> None:
    _, _, made = await asked(device)
    await complete_transcription(ports, device.tenant.test_world, str(made["id"]))
    path = f"/v1/transcriptions/{made['id']}"
    shown = [await device.call("GET", f"{path}{query}", 200) for query in ("", "?include=words")]
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE transcriptions SET segments_plain = NULL WHERE id = $1", made["id"])
    assert [await device.call("GET", f"{path}{query}", 200) for query in ("", "?include=words")] == shown
    assert (await device.call("GET", "/v1/transcriptions?include=segments", 200))["data"] == shown[:1]


async def test_segments_are_sent_as_they_are_stored(device: Device, ports: Ports) -> None:
    """Those of three hours, read and written again, would hold up every other request."""
    _, _, made = await asked(device)
    await complete_transcription(ports, device.tenant.test_world, str(made["id"]))
    stored = b'[ {"start": 0.50,"end":2.0,"text":"Hello.","confidence":0.9}]'
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE transcriptions SET segments_plain = $2 WHERE id = $1", made["id"], stored
        )
    for path in (f"/v1/transcriptions/{made['id']}", "/v1/transcriptions?include=segments"):
        answer = await device.client.get(path, headers=device.headers)
        assert stored in answer.content


async def test_a_page_of_very_long_transcripts_ends_early_and_none_is_left_out(
    device: Device, ports: Ports
) -> None:
    """Or a hundred of a whole day each would fill the server's memory."""
    made = [str((await asked(device))[2]["id"]) for _ in range(4)]
    for each in made:
        await complete_transcription(ports, device.tenant.test_world, each)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE transcriptions SET segments_plain = $2 WHERE id = ANY($1)",
            made[1:3],
            b"[" + b" " * 2**20 + b"]",
        )
    shown: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await device.call("GET", f"/v1/transcriptions?include=segments&limit=100&cursor={cursor}", 200)
        shown.append([each["id"] for each in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
    newest = made[::-1]
    assert shown == [newest[:1], newest[1:2], newest[2:3], newest[3:]]
    plain = await device.call("GET", "/v1/transcriptions?limit=4", 200)
    assert ([each["id"] for each in plain["data"]], plain["has_more"]) == (newest, False)


@pytest.mark.parametrize(("size", "told"), [(500_000, True), (600_000, False)])
def test_an_event_that_would_be_too_large_leaves_the_text_out(size: int, *, told: bool) -> None:
    whole = {"full_text": "x" * size, "text": "x" * size, "segments": [SEGMENT]}
    shown = msgspec.convert(TRANSCRIPTION | whole, Transcription)
    data = transcription_body(msgspec.structs.replace(shown, segments=msgspec.UNSET))
    event = {"id": an_id("evt"), "type": "transcription.completed", "created_at": AT}
    check_event(msgspec.json.encode({**event, "data": msgspec.Raw(data)}))
    assert json.loads(data)["text"] == (whole["text"] if told else None)


async def test_lists_filter_by_recording_and_status(device: Device, ports: Ports) -> None:
    made = [await asked(device) for _ in range(3)]
    await complete_transcription(ports, device.tenant.test_world, str(made[0][2]["id"]))

    async def ids(query: str) -> list[str]:
        page = await device.call("GET", f"/v1/transcriptions?{query}", 200)
        return [each["id"] for each in page["data"]]

    newest = [each[2]["id"] for each in reversed(made)]
    assert await ids("") == newest
    assert await ids("status=completed") == [made[0][2]["id"]]
    assert await ids("status=pending") == newest[:2]
    assert await ids(f"recording_id={made[1][0]}") == [made[1][2]["id"]]
    assert await ids(f"recording_id={made[1][0]}&status=failed") == []
    first = await device.call("GET", "/v1/transcriptions?limit=2", 200)
    rest = await device.call("GET", f"/v1/transcriptions?limit=2&cursor={first['next_cursor']}", 200)
    assert [each["id"] for each in first["data"] + rest["data"]] == newest


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("txt", "text/plain"),
        ("md", "text/markdown"),
        ("srt", "application/x-subrip"),
        ("vtt", "text/vtt"),
        ("csv", "text/csv"),
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("html", "text/html"),
        ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
async def test_it_is_exported_under_the_recordings_name(
    device: Device, ports: Ports, name: str, media_type: str
) -> None:
    recording_id, _, made = await asked(device)
    await device.call("PATCH", f"/v1/recordings/{recording_id}", 200, {"name": "Weekly sync"})
    await complete_transcription(ports, device.tenant.test_world, str(made["id"]))
    path = f"/v1/transcriptions/{made['id']}/export?format={name}"
    answer = await device.client.get(path, headers=device.headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.headers["content-disposition"] == f'attachment; filename="Weekly sync.{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    if name in ("md", "json", "html"):
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", answer.text)
    assert ("content-security-policy" in answer.headers) == (name == "html")
    assert name == "docx" or "everybody." in answer.text
    head = await device.client.head(path, headers=device.headers)
    assert head.headers["content-length"] == answer.headers["content-length"]


async def test_there_is_nothing_to_export_before_it_is_completed(device: Device) -> None:
    _, _, made = await asked(device)
    refused = await device.call("GET", f"/v1/transcriptions/{made['id']}/export", 409)
    assert refused["error"]["code"] == "transcript_not_ready"
    wrong = await device.call("GET", f"/v1/transcriptions/{made['id']}/export?format=pdf", 400)
    assert wrong["error"]["param"] == "format"


async def test_a_waveform_has_as_many_points_as_are_asked_for(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(SOUND)
    path = f"/v1/recordings/{recording_id}/waveform"
    early = await device.client.get(path, headers=device.headers)
    assert early.status_code == 409
    assert early.headers["retry-after"] == "1"
    await look_at_audio(ports, device.tenant.test_world, recording_id, media_id)
    for points in (100, 1000, 4000):
        shown = await device.call("GET", f"{path}?points={points}", 200)
        assert shown["duration_ms"] == FACTS.duration_ms
        assert len(shown["peaks"]) == points
        assert shown["peaks"][-1] == 1.0
    assert len((await device.call("GET", path, 200))["peaks"]) == 1000
    for points in (99, 4001, "many"):
        await device.call("GET", f"{path}?points={points}", 400)


async def test_an_audio_that_cannot_be_read_has_no_waveform_and_it_is_told_why(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await device.upload(SOUND)
    async with ports.database.transaction() as connection:
        await fact_queries.put_fault(
            connection,
            device.tenant.test_world,
            recording_id,
            media_id,
            "audio_corrupt",
            "The file ends in its middle.",
            ports.clock.now(),
        )
    refused = await device.call("GET", f"/v1/recordings/{recording_id}/waveform", 409)
    assert "audio_corrupt" in refused["error"]["message"]


async def test_a_key_of_one_end_user_reaches_that_ones_recordings_only(device: Device, ports: Ports) -> None:
    recording_id, _, made = await asked(device)
    person = (await device.read(recording_id))["end_user_id"]
    other, _, others = await asked(device)
    key = await make_key(ports, device.tenant.test_world, "rk_test", scopes=SCOPES, end_user_id=person)
    scoped = Device(device.client, device.tenant, bearer(key))
    page = await scoped.call("GET", "/v1/transcriptions", 200)
    assert [each["id"] for each in page["data"]] == [made["id"]]
    await scoped.call("GET", f"/v1/transcriptions/{others['id']}", 404)
    await scoped.call("GET", f"/v1/transcriptions/{others['id']}/export", 404)
    await scoped.call("GET", f"/v1/recordings/{other}/waveform", 404)
    await scoped.post("/v1/transcriptions", 404, {"recording_id": other})
    await scoped.post("/v1/transcriptions", 409, {"recording_id": recording_id})


async def test_it_goes_with_its_recording_and_so_do_its_events(device: Device, ports: Ports) -> None:
    recording_id, media_id, made = await asked(device)
    await look_at_audio(ports, device.tenant.test_world, recording_id, media_id)
    await device.call("DELETE", f"/v1/recordings/{recording_id}", 204)
    await device.call("GET", f"/v1/transcriptions/{made['id']}", 404)
    assert (await device.call("GET", "/v1/transcriptions", 200))["data"] == []
    assert await events_of(ports, device.tenant.test_world, str(made["id"])) == []
    async with ports.database.acquire() as connection:
        for table in ("audio_facts", "transcriptions", "transcription_pieces", "speech_work"):
            left = await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE world_id = $1", device.tenant.test_world
            )
            assert left == 0, table
