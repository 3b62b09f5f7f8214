"""Links that are over, and credentials that end before a link would."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lapel.foundation.core.clock import timestamp
from lapel.foundation.ports import Ports
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.links import Links, links_for
from lapel.foundation.storage.presign import Presigner
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.service import Recordings
from lapel.slices.recordings.wire import DownloadQuery, DownloadRequest, StartUpload
from tests.recordings.support import Device, key_of, later

WORDS = b"in time" * 100


async def test_an_expired_upload_url_is_403_and_a_fresh_one_works(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    at = Reach(device.tenant.test_world, recording_id)
    past = later(ports, -timedelta(minutes=61))
    async with ports.database.transaction() as connection:
        actor = await key_of(connection, device.tenant)
        old = await past.uploads.start(connection, actor, at, StartUpload())
    answer = await device.client.put(old.upload_url, content=WORDS, headers=old.headers)
    assert answer.status_code == 403
    assert (await device.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"
    fresh = await device.start(recording_id)
    assert fresh["media_id"] == old.media_id
    await device.put(fresh, WORDS)
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_an_expired_download_link_is_403(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS)
    at = Reach(device.tenant.test_world, recording_id)
    for minutes, status in ((59, 200), (61, 403)):
        past = later(ports, -timedelta(minutes=minutes))
        link = await past.downloads.of_media(at, DownloadRequest(media_id=media_id))
        assert (await device.client.get(link.download_url)).status_code == status


async def test_a_link_says_when_its_credentials_end_it_sooner(device: Device, ports: Ports) -> None:
    recording_id, media_id = await device.upload(WORDS)
    now = ports.clock.now()
    ends = now + timedelta(minutes=10)
    credentials = StaticCredentials(Credentials("temporary", "secret", "session", expires_at=ends))
    short = Recordings(replace(ports, links=links_for(ports.settings, credentials)))
    at = Reach(device.tenant.test_world, recording_id)
    link = await short.downloads.of_media(at, DownloadRequest(media_id=media_id))
    assert link.expires_at == timestamp(ends)
    audio = await short.downloads.of_audio(at, DownloadQuery())
    assert 590 <= audio.expires_in <= 600


def test_the_life_of_a_link_is_told_in_whole_seconds() -> None:
    source = StaticCredentials(Credentials("a", "b"))
    links = Links(Presigner("https://s3.example", region="r", bucket="b", credentials=source))
    now = datetime(2026, 1, 15, 12, 0, 0, 999_999, tzinfo=UTC)
    read = links.get("k", now=now, expires_in=60, content_type="audio/opus", disposition="inline")
    assert (read.expires_in, read.expires_at) == (60, "2026-01-15T12:01:00.000Z")
    written = links.put("k", now=now, expires_in=60, content_type="audio/opus")
    assert (written.expires_in, written.expires_at) == (60, datetime(2026, 1, 15, 12, 1, tzinfo=UTC))
