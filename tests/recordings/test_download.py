"""Links to what was uploaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.downloads.download_names import file_name
from lapel.slices.recordings.downloads.download_queries import find_audio_downloads, find_downloads
from tests.recordings.support import Device
from tests.support.client import api_client
from tests.support.running import running
from tests.support.tenants import make_tenant

WORDS = bytes(range(256)) * 16


async def test_the_link_is_good_for_an_hour_and_serves_the_verified_bytes(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await device.upload(WORDS, name="Planning")
    before = ports.clock.now()
    link = await device.link(recording_id, media_id)
    expected = {"media_id": media_id, "content_type": "audio/opus", "file_size_bytes": len(WORDS)}
    assert {name: link[name] for name in expected} == expected
    lives = datetime.fromisoformat(link["expires_at"]) - before
    assert timedelta(minutes=59, seconds=58) < lives < timedelta(minutes=60, seconds=5)
    served = await device.client.get(link["download_url"])
    assert (served.status_code, served.content) == (200, WORDS)
    assert served.headers["content-type"] == "audio/opus"
    assert served.headers["content-length"] == str(len(WORDS))
    assert not {"content-range", "content-encoding"} & set(served.headers)
    assert served.headers["content-disposition"] == 'inline; filename="Planning.opus"'
    part = await device.client.get(link["download_url"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, WORDS[10:20])


async def test_the_newer_form_links_the_audio(device: Device) -> None:
    recording_id, media_id = await device.upload(WORDS)
    path = f"/v1/recordings/{recording_id}/download-url"
    link = await device.call("GET", path, 200)
    older = await device.link(recording_id, media_id)
    assert set(link) == {*older, "expires_in"}
    for name in ("media_id", "content_type", "file_size_bytes"):
        assert link[name] == older[name]
    assert (link["media_id"], link["expires_in"]) == (media_id, 3600)
    assert (await device.client.get(link["download_url"])).content == WORDS
    empty = await device.recording()
    refusal = await device.call("GET", f"/v1/recordings/{empty}/download-url", 409)
    assert refusal["error"]["code"] == "media_not_uploaded"
    await device.call("GET", "/v1/recordings/rec_none/download-url", 404)


async def test_questions_that_share_a_statement_get_the_answers_of_each_alone(
    device: Device, ports: Ports
) -> None:
    recording_id, media_id = await device.upload(WORDS, name="Planning")
    empty, person = await device.recording(), await device.end_user()
    world, other = device.tenant.test_world, device.tenant.live_world
    reaches = [Reach(world, recording_id), Reach(other, recording_id), Reach(world, empty)]
    reaches += [Reach(world, recording_id, end_user_id=person), Reach(world, "rec_none")]
    media = [(at, media_id) for at in reaches] + [(reaches[0], "med_none")]
    async with ports.database.acquire() as connection:
        found = await find_downloads(connection, media)
        audios = await find_audio_downloads(connection, reaches)
        alone = [(await find_downloads(connection, [each]))[0] for each in media]
        audios_alone = [(await find_audio_downloads(connection, [each]))[0] for each in reaches]
    assert [row and row.name for row in found] == ["Planning", *[None] * 5]
    assert [row and row.id for row in audios] == [media_id, *[None] * 4]
    for shared, single in ((found, alone), (audios, audios_alone)):
        assert [row and replace(row, place=1) for row in shared] == single


async def test_disposition_name_and_life_can_be_chosen(device: Device) -> None:
    recording_id, media_id = await device.upload(WORDS)
    link = await device.link(
        recording_id, media_id, disposition="attachment", filename="Gespräch.opus", expires_in=604_800
    )
    assert "X-Amz-Expires=604800" in link["download_url"]
    shortest = await device.link(recording_id, media_id, expires_in=60)
    assert "X-Amz-Expires=60&" in shortest["download_url"] + "&"
    served = await device.client.get(link["download_url"])
    assert served.status_code == 200
    assert served.headers["content-disposition"] == (
        "attachment; filename=\"Gesprach.opus\"; filename*=UTF-8''Gespr%C3%A4ch.opus"
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "media_id"),
        ({"media_id": None}, "media_id"),
        ({"media_id": "med_x", "expires_in": 59}, "expires_in"),
        ({"media_id": "med_x", "expires_in": 604_801}, "expires_in"),
        ({"media_id": "med_x", "disposition": "both"}, "disposition"),
    ],
)
async def test_what_is_refused(device: Device, body: dict[str, object], param: str) -> None:
    recording_id = await device.recording()
    refusal = await device.post(f"/v1/recordings/{recording_id}/download-url", 400, body)
    assert refusal["error"]["param"] == param


async def test_media_of_another_recording_and_media_that_are_not_there(device: Device) -> None:
    recording_id, media_id = await device.upload(WORDS)
    other = await device.recording()
    await device.post(f"/v1/recordings/{other}/download-url", 404, {"media_id": media_id})
    await device.post(f"/v1/recordings/{recording_id}/download-url", 404, {"media_id": "med_none"})
    pending = (await device.start(other))["media_id"]
    refusal = await device.post(f"/v1/recordings/{other}/download-url", 409, {"media_id": pending})
    assert refusal["error"]["code"] == "media_not_uploaded"


# Every row of the database with the transaction that wrote it, but for signs of life of keys and processes.
TABLES = """
SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema IN ('public', 'jobs') AND table_name <> 'key_caches'
"""


async def contents(ports: Ports) -> dict[str, list[str]]:
    """What the database holds, by table."""
    async with ports.database.acquire() as connection:
        tables: list[str] = [row[0] for row in await connection.fetch(TABLES)]
        found: dict[str, list[str]] = {}
        for table in tables:
            writer = "0" if table == "public.api_keys" else "t.xmin"
            sql = f"SELECT {writer}::text || (to_jsonb(t) - 'last_used_at')::text FROM {table} t"
            found[table] = sorted(row[0] for row in await connection.fetch(sql))
    return found


async def test_with_the_store_away_writes_are_503_and_links_are_still_given(
    fresh_database: str, data_folder: Callable[[str], Path]
) -> None:
    """The server's own way to the store is closed; links are computed without it, and nothing is written."""
    async with running(
        data_folder("away"), fresh_database, LAPEL_S3_ENDPOINT="http://127.0.0.1:9/store"
    ) as started:
        tenant = await make_tenant(started.ports)
        async with api_client(started.url) as client:
            device = Device(client, tenant, tenant.headers)
            recording_id = await device.recording()
            upload = await device.start(recording_id)
            answer = await client.post(
                f"/v1/recordings/{recording_id}/upload-complete", json={}, headers=device.headers
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            async with started.ports.database.acquire() as connection:
                await connection.execute(
                    "UPDATE media SET status = 'uploaded', object_key = 'media/p/r/m/a/audio.opus',"
                    " file_size_bytes = 3 WHERE id = $1",
                    upload["media_id"],
                )
                await connection.execute("UPDATE recordings SET status = 'uploaded'")
            before = await contents(started.ports)
            assert {"public.media", "public.recordings", "public.events", "jobs.pgqueuer"} < set(before)
            key = {"Idempotency-Key": "stored-by-nobody"}
            path = f"/v1/recordings/{recording_id}/download-url"
            for link in (
                await device.post(path, 200, {"media_id": upload["media_id"]}, **key),
                await device.call("GET", path, 200),
            ):
                assert "X-Amz-Signature=" in link["download_url"]
            await device.post(path, 404, {"media_id": "med_none"})
            assert await contents(started.ports) == before


@pytest.mark.parametrize(
    ("asked", "title", "expected"),
    [
        (None, None, "rec_1.opus"),
        (None, "Weekly planning", "Weekly planning.opus"),
        ("talk", "Weekly planning", "talk.opus"),
        ("talk.mp3", None, "talk.mp3"),
        (None, "talk.mp3", "talk.mp3.opus"),
        ("../../etc/passwd", None, "_.._etc_passwd.opus"),
        ("\u200b", "", "rec_1.opus"),
    ],
)
def test_files_are_called_as_was_asked(asked: str | None, title: str | None, expected: str) -> None:
    assert file_name(asked, title, "rec_1", "audio/opus") == expected
