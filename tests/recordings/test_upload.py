"""The main job: a recording goes in, is kept, and comes back."""

from __future__ import annotations

import json
import re

import pytest

from lapel.foundation.ports import Ports
from tests.recordings.support import Device, events_of, objects, sha256, staging, until_none
from tests.support.declared import described_api
from tests.support.tenants import bearer

OGG = b"OggS" + bytes(range(256)) * 40
OTHER = bytes(reversed(OGG))


async def test_a_recording_goes_in_and_comes_back(device: Device, ports: Ports) -> None:
    recording_id = await device.recording(name="Planning")
    upload = await device.start(recording_id, file_size_bytes=len(OGG), sha256=sha256(OGG))
    assert upload["method"] == "PUT"
    assert set(upload["headers"]) == {"Content-Type", "x-amz-checksum-sha256"}
    assert upload["expires_in"] == 3600
    assert upload["complete_url"].endswith(f"/v1/recordings/{recording_id}/upload-complete")
    await device.put(upload, OGG)
    done = await device.complete(
        recording_id, content_sha256=sha256(OGG), file_size_bytes=len(OGG), duration_seconds=25.6
    )
    assert done["status"] == "uploaded"
    assert done["content_sha256"] == sha256(OGG)
    assert done["file_size_bytes"] == len(OGG)
    assert (done["duration_ms"], done["duration_seconds"]) == (25600, 26)
    assert done["mime_type"] == "audio/opus"
    (media,) = done["media"]
    assert (media["id"], media["status"], media["sha256"]) == (upload["media_id"], "uploaded", sha256(OGG))
    assert await device.read(recording_id) == done
    assert await device.download(recording_id, upload["media_id"]) == OGG
    assert await events_of(ports, device.tenant.test_world, recording_id) == [
        "recording.created",
        "recording.uploaded",
    ]
    await until_none(ports, staging(device, recording_id))
    (final,) = await objects(ports, f"media/{device.tenant.project_id}/{recording_id}/")
    below = final.removeprefix(f"media/{device.tenant.project_id}/{recording_id}/{upload['media_id']}/")
    assert re.fullmatch(r"att_[A-Za-z0-9-]+/audio\.opus", below)
    # No upload URL was ever issued for the key that is served.
    assert final not in upload["upload_url"]
    assert final in (await device.link(recording_id, upload["media_id"]))["download_url"]


async def test_the_event_holds_the_whole_object_its_flat_facts_and_the_object_nested(
    device: Device, ports: Ports
) -> None:
    recording_id, _ = await device.upload(OGG)
    async with ports.database.acquire() as connection:
        body: bytes = await connection.fetchval(
            "SELECT body FROM events WHERE world_id = $1 AND resource_id = $2 AND type = $3",
            device.tenant.test_world,
            recording_id,
            "recording.uploaded",
        )
    data = json.loads(body)["data"]
    nested = data.pop("recording")
    assert data.pop("format") == "opus"
    assert data == nested == await device.read(recording_id)


async def test_what_download_serves_does_not_change_when_the_old_url_is_used_again(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OGG)
    await device.complete(recording_id)
    await device.put(upload, OTHER)
    assert await device.download(recording_id, upload["media_id"]) == OGG
    again = await device.complete(recording_id, content_sha256=sha256(OGG))
    assert again["content_sha256"] == sha256(OGG)


async def test_the_last_of_two_puts_counts(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OTHER)
    await device.put(upload, OGG)
    done = await device.complete(recording_id, content_sha256=sha256(OGG))
    assert done["content_sha256"] == sha256(OGG)


async def test_the_newest_attempt_that_has_an_object_is_taken(device: Device) -> None:
    recording_id = await device.recording()
    first = await device.start(recording_id, content_type="audio/wav")
    second = await device.start(recording_id, content_type="audio/ogg")
    third = await device.start(recording_id, content_type="audio/flac")
    assert first["media_id"] == second["media_id"] == third["media_id"]
    await device.put(second, OGG)
    await device.put(first, OTHER)
    done = await device.complete(recording_id)
    assert done["content_sha256"] == sha256(OGG)
    assert done["mime_type"] == done["media"][0]["mime_type"] == "audio/ogg"


async def test_completion_before_put_says_so_and_harms_nothing(device: Device) -> None:
    recording_id = await device.recording()
    refusal = await device.complete(recording_id, 409)
    assert refusal["error"]["code"] == "media_not_uploaded"
    upload = await device.start(recording_id)
    assert (await device.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"
    await device.put(upload, OGG)
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_a_finished_call_may_be_repeated_with_facts_that_agree(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OGG)
    facts = {"content_sha256": sha256(OGG), "file_size_bytes": len(OGG), "duration_seconds": 25}
    done = await device.complete(recording_id, **facts)
    assert await device.complete(recording_id, **facts) == done
    assert await device.complete(recording_id) == done
    for wrong in (
        {"content_sha256": sha256(OTHER)},
        {"file_size_bytes": len(OGG) + 1},
        {"duration_seconds": 26},
    ):
        refusal = await device.complete(recording_id, 409, **{**facts, **wrong})
        assert refusal["error"]["code"] == "conflict"
    assert await device.read(recording_id) == done


async def test_a_fact_unknown_before_does_not_conflict_on_repeat(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OGG)
    done = await device.complete(recording_id)
    assert done["duration_ms"] is None
    assert await device.complete(recording_id, duration_seconds=3.0) == done


async def test_each_repeat_after_a_refusal_says_what_was_claimed_and_what_arrived(device: Device) -> None:
    """Also a repeat without facts, and one that corrects the claim: the bytes are gone."""
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OGG)
    for claim in ({"file_size_bytes": 7}, {"file_size_bytes": 7}, {}, {"file_size_bytes": len(OGG)}):
        error = (await device.complete(recording_id, 409, **claim))["error"]
        assert (error["code"], error["resource_id"]) == ("integrity_failure", upload["media_id"])
        assert f"The object has {len(OGG)} bytes; 7 were announced." in error["message"]
        assert "ask for a fresh upload URL and upload again" in error["message"]


async def test_wrong_facts_refuse_and_a_fresh_url_starts_over(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put(upload, OTHER)
    refusal = await device.complete(recording_id, 409, content_sha256=sha256(OGG))
    assert refusal["error"]["code"] == "integrity_failure"
    shown = await device.read(recording_id)
    assert (shown["status"], shown["media"][0]["status"]) == ("integrity_failure", "failed")
    # A lost answer: the repeat hears the same.
    repeated = await device.complete(recording_id, 409, content_sha256=sha256(OGG))
    assert repeated["error"]["code"] == "integrity_failure"
    assert await objects(ports, f"media/{device.tenant.project_id}/{recording_id}/") == []
    # The refused URL is of no use any more, whatever is put there.
    await device.put(upload, OGG)
    assert (await device.complete(recording_id, 409))["error"]["code"] == "integrity_failure"

    fresh = await device.start(recording_id)
    assert fresh["media_id"] == upload["media_id"]
    assert (await device.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"
    await device.put(fresh, OGG)
    done = await device.complete(recording_id, content_sha256=sha256(OGG))
    assert (done["status"], done["content_sha256"]) == ("uploaded", sha256(OGG))
    assert await events_of(ports, device.tenant.test_world, recording_id) == [
        "recording.created",
        "recording.failed",
        "recording.uploaded",
    ]


async def test_a_hash_that_contradicts_the_signed_one_is_refused_at_once_and_the_object_stays(
    device: Device, ports: Ports
) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id, sha256=sha256(OGG))
    await device.put(upload, OGG)
    for _ in range(2):
        error = (await device.complete(recording_id, 409, content_sha256=sha256(OTHER)))["error"]
        assert (error["code"], error["param"]) == ("conflict", "content_sha256")
        assert error["resource_id"] == upload["media_id"]
        assert sha256(OGG) in error["message"]
        assert sha256(OTHER) in error["message"]
        assert [each["field"] for each in error["details"]] == ["content_sha256"]
    shown = await device.read(recording_id)
    assert (shown["status"], shown["media"][0]["status"]) == ("pending", "pending")
    assert len(await objects(ports, staging(device, recording_id))) == 1
    # The same bytes are completed without a second PUT.
    done = await device.complete(recording_id, content_sha256=sha256(OGG))
    assert (done["status"], done["content_sha256"]) == ("uploaded", sha256(OGG))


async def test_a_wrong_size_refuses(device: Device) -> None:
    recording_id = await device.recording()
    await device.put(await device.start(recording_id), OGG)
    refusal = await device.complete(recording_id, 409, file_size_bytes=len(OGG) - 1)
    assert refusal["error"]["code"] == "integrity_failure"


async def test_an_uploaded_audio_takes_no_more_urls(device: Device) -> None:
    recording_id, _ = await device.upload(OGG)
    refusal = await device.start(recording_id, 409)
    assert refusal["error"]["code"] == "conflict"


async def test_the_signed_size_and_hash_are_enforced_by_the_store(device: Device) -> None:
    recording_id = await device.recording()
    sized = await device.start(recording_id, file_size_bytes=len(OGG))
    await device.put(sized, OGG + b"x", 403)
    hashed = await device.start(recording_id, sha256=sha256(OGG))
    await device.put(hashed, OTHER, 400)
    assert (await device.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"


async def test_content_types_fit_the_type(device: Device) -> None:
    recording_id = await device.recording()
    for body in (
        {"content_type": "image/png"},
        {"type": "image", "content_type": "audio/opus"},
        {"type": "video", "content_type": "video/webm"},
        {"content_type": "text/html"},
    ):
        refusal = await device.start(recording_id, 400, **body)
        assert refusal["error"]["param"] == "content_type"
    assert (await device.start(recording_id, type="image"))["content_type"] == "image/jpeg"
    assert (await device.start(recording_id, type="video"))["content_type"] == "video/mp4"


@pytest.mark.parametrize(
    ("kind", "most"), [("audio", 2 * 2**30), ("image", 50 * 2**20), ("video", 5 * 2**30)]
)
async def test_each_type_has_its_limit_unless_it_is_set(device: Device, kind: str, most: int) -> None:
    recording_id = await device.recording()
    await device.start(recording_id, type=kind, file_size_bytes=most)
    refusal = await device.start(recording_id, 400, type=kind, file_size_bytes=most + 1)
    assert refusal["error"]["param"] == "file_size_bytes"


async def test_a_replayed_upload_url_keeps_its_media_and_signs_a_fresh_url(device: Device) -> None:
    recording_id = await device.recording()
    path = f"/v1/recordings/{recording_id}/upload-url"
    body = {"type": "image", "sha256": sha256(OGG)}
    first = await device.post(path, 200, body, **{"Idempotency-Key": "one"})
    second = await device.post(path, 200, body, **{"Idempotency-Key": "one"})
    assert first["media_id"] == second["media_id"]
    assert first["upload_url"] != second["upload_url"]
    assert first["headers"] == second["headers"]
    other = await device.post(path, 200, body, **{"Idempotency-Key": "two"})
    assert other["media_id"] != first["media_id"]
    await device.put(second, OGG)
    done = await device.complete(recording_id)
    assert [media["status"] for media in done["media"]] == ["uploaded", "pending"]
    refusal = await device.post(path, 409, body, **{"Idempotency-Key": "one"})
    assert refusal["error"]["code"] == "conflict"


async def test_the_upload_token_uploads_this_recording_and_nothing_else(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    token = bearer(upload["upload_token"])
    path = f"/v1/recordings/{recording_id}"
    fresh = await device.post(f"{path}/upload-url", 200, {}, **token)
    await device.put(fresh, OGG)
    done = await device.post(f"{path}/upload-complete", 200, {}, **token)
    assert await device.post(f"{path}/upload-complete", 200, {}, **token) == done
    other = await device.recording()
    await device.post(f"/v1/recordings/{other}/upload-url", 404, {}, **token)
    await device.post(f"/v1/recordings/{other}/upload-complete", 404, {}, **token)
    await device.call("GET", path, 403, **token)
    await device.post(f"{path}/download-url", 403, {"media_id": fresh["media_id"]}, **token)


async def test_a_device_uploads_its_own_recordings_only(device: Device) -> None:
    person = await device.end_user()
    made = await device.post("/v1/devices", 201, {"serial_number": "OWNREC01"})
    bound = await device.post(f"/v1/devices/{made['id']}/bind", 200, {"end_user_id": person})
    token = bearer(bound["device_token"])
    body = {"end_user_id": "eu_ignored", "device_id": "dev_ignored"}
    own = await device.post("/v1/recordings", 201, body, **token)
    assert (own["device_id"], own["end_user_id"], own["source"]) == (made["id"], person, "device")
    upload = await device.post(f"/v1/recordings/{own['id']}/upload-url", 200, {}, **token)
    await device.put(upload, OGG)
    done = await device.post(f"/v1/recordings/{own['id']}/upload-complete", 200, {}, **token)
    assert done["status"] == "uploaded"
    another = await device.recording(end_user_id=person)
    await device.post(f"/v1/recordings/{another}/upload-url", 404, {}, **token)
    await device.post(f"/v1/recordings/{another}/upload-complete", 404, {}, **token)
    await device.call("GET", f"/v1/recordings/{own['id']}", 403, **token)


async def test_every_content_type_of_the_contract_is_taken_and_echoed(device: Device) -> None:
    recording_id = await device.recording()
    types = {
        "audio": ("opus", "wav", "mpeg", "mp4", "webm", "ogg", "flac", "aac", "x-m4a"),
        "image": ("jpeg", "png"),
        "video": ("mp4",),
    }
    assert (await device.start(recording_id))["content_type"] == "audio/opus"
    for kind, names in types.items():
        for name in names:
            asked = f"{kind}/{name}"
            upload = await device.start(recording_id, type=kind, content_type=asked)
            assert (upload["content_type"], upload["headers"]) == (asked, {"Content-Type": asked})


@pytest.mark.parametrize(
    ("asked", "signed"),
    [
        ("audio/webm;codecs=opus", "audio/webm"),
        ("audio/ogg; codecs=opus", "audio/ogg"),
        (" Audio/WAV ", "audio/wav"),
        ("audio/x-wav", "audio/wav"),
        ("audio/wave", "audio/wav"),
        ("audio/m4a", "audio/x-m4a"),
        ("audio/mp3", "audio/mpeg"),
        ("audio/mp3; charset=binary", "audio/mpeg"),
    ],
)
async def test_other_names_and_parameters_of_a_content_type_are_normalised(
    device: Device, asked: str, signed: str
) -> None:
    """The PUT takes the Content-Type that the answer names, which is the contract's."""
    recording_id = await device.recording()
    upload = await device.start(recording_id, content_type=asked)
    assert (upload["content_type"], upload["headers"]) == (signed, {"Content-Type": signed})
    await device.put(upload, OGG)
    assert (await device.complete(recording_id))["mime_type"] == signed


@pytest.mark.parametrize(
    "asked",
    ["audio/webm, audio/ogg", "audio", ";audio/wav", "audio/x-unknown", "", "audio/amr", "audio/3gpp"],
)
async def test_what_names_no_content_type_is_refused(device: Device, asked: str) -> None:
    recording_id = await device.recording()
    refused = await device.start(recording_id, 400, content_type=asked)
    assert refused["error"]["param"] == "content_type"
    assert "audio/opus, audio/wav, audio/mpeg, audio/mp4," in refused["error"]["message"]


async def test_another_content_type_or_an_altered_url_is_403(device: Device) -> None:
    recording_id = await device.recording()
    upload = await device.start(recording_id)
    await device.put({**upload, "headers": {"Content-Type": "audio/wav"}}, OGG, 403)
    await device.put({**upload, "upload_url": upload["upload_url"].replace("?", "x?")}, OGG, 403)
    longer = upload["upload_url"].replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")
    assert longer != upload["upload_url"]
    await device.put({**upload, "upload_url": longer}, OGG, 403)
    assert (await device.complete(recording_id, 409))["error"]["code"] == "media_not_uploaded"
    await device.put(upload, OGG)


async def test_an_empty_file_is_refused_in_words(device: Device) -> None:
    recording_id = await device.recording()
    for size in (0, -1):
        refused = (await device.start(recording_id, 400, file_size_bytes=size))["error"]
        assert (refused["param"], "empty" in refused["message"]) == ("file_size_bytes", True)
    described = described_api()["components"]["schemas"]["StartUpload"]["properties"]["file_size_bytes"]
    assert [each["minimum"] for each in described["anyOf"] if each["type"] == "integer"] == [1]
    upload = await device.start(recording_id)
    await device.put(upload, b"")
    refused = (await device.complete(recording_id, 409))["error"]
    assert (refused["code"], "empty: it has 0 bytes" in refused["message"]) == ("integrity_failure", True)
    await device.put(await device.start(recording_id), OGG)
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_a_size_that_is_too_large_is_told_in_bytes_and_in_words(device: Device) -> None:
    recording_id = await device.recording()
    refused = (await device.start(recording_id, 400, file_size_bytes=2_147_483_649))["error"]
    assert "2147483648 bytes (2 GiB)" in refused["message"]
