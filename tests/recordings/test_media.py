"""Images and videos beside the audio, and which media the facts of a completion speak of."""

from __future__ import annotations

from lapel.foundation.ports import Ports
from tests.recordings.support import Device, sha256

AUDIO, FIRST, SECOND = b"audio" * 500, b"first image" * 100, b"second image" * 100


async def test_every_image_is_a_media_of_its_own(device: Device) -> None:
    recording_id = await device.recording()
    first = await device.start(recording_id, type="image", captured_at="2026-01-15T13:00:00+01:00")
    second = await device.start(recording_id, type="image", content_type="image/png")
    audio = await device.start(recording_id)
    assert len({first["media_id"], second["media_id"], audio["media_id"]}) == 3
    for upload, content in ((first, FIRST), (second, SECOND), (audio, AUDIO)):
        await device.put(upload, content)
    done = await device.complete(recording_id, content_sha256=sha256(AUDIO))
    assert [(media["type"], media["sha256"]) for media in done["media"]] == [
        ("image", sha256(FIRST)),
        ("image", sha256(SECOND)),
        ("audio", sha256(AUDIO)),
    ]
    assert done["media"][0]["captured_at"] == "2026-01-15T12:00:00.000Z"
    assert (done["content_sha256"], done["mime_type"]) == (sha256(AUDIO), "audio/opus")
    for upload, content in ((first, FIRST), (second, SECOND), (audio, AUDIO)):
        assert await device.download(recording_id, upload["media_id"]) == content


async def test_media_without_an_object_block_nothing_and_can_be_completed_later(device: Device) -> None:
    recording_id = await device.recording()
    audio = await device.start(recording_id)
    image = await device.start(recording_id, type="image")
    await device.put(audio, AUDIO)
    done = await device.complete(recording_id)
    assert [media["status"] for media in done["media"]] == ["uploaded", "pending"]
    assert await device.complete(recording_id) == done
    uploaded_at = done["uploaded_at"]
    await device.put(image, FIRST)
    done = await device.complete(recording_id, content_sha256=sha256(AUDIO))
    assert [media["status"] for media in done["media"]] == ["uploaded", "uploaded"]
    assert done["uploaded_at"] == uploaded_at
    assert done["content_sha256"] == sha256(AUDIO)


async def test_facts_describe_the_only_pending_media_when_there_is_no_audio(device: Device) -> None:
    recording_id = await device.recording()
    image = await device.start(recording_id, type="image")
    await device.put(image, FIRST)
    facts = {"content_sha256": sha256(FIRST), "file_size_bytes": len(FIRST)}
    done = await device.complete(recording_id, **facts)
    assert done["status"] == "uploaded"
    assert (done["content_sha256"], done["mime_type"], done["file_size_bytes"]) == (None, None, None)
    assert await device.complete(recording_id, **facts) == done
    refusal = await device.complete(recording_id, 409, content_sha256=sha256(SECOND))
    assert refusal["error"]["code"] == "conflict"


async def test_facts_are_refused_when_they_could_mean_more_than_one(device: Device) -> None:
    recording_id = await device.recording()
    for content in (FIRST, SECOND):
        await device.put(await device.start(recording_id, type="image"), content)
    refusal = await device.complete(recording_id, 400, file_size_bytes=len(FIRST))
    assert refusal["error"]["param"] == "file_size_bytes"
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_facts_of_an_audio_that_is_not_there_do_not_complete_an_image(device: Device) -> None:
    """200 would tell the device that its audio is safe."""
    recording_id = await device.recording()
    await device.start(recording_id)
    await device.put(await device.start(recording_id, type="image"), FIRST)
    refusal = await device.complete(recording_id, 409, content_sha256=sha256(AUDIO))
    assert refusal["error"]["code"] == "media_not_uploaded"
    assert (await device.complete(recording_id))["status"] == "uploaded"
    refusal = await device.complete(recording_id, 409, content_sha256=sha256(AUDIO))
    assert refusal["error"]["code"] == "media_not_uploaded"


async def test_before_the_recording_is_uploaded_one_bad_media_refuses_all(device: Device) -> None:
    recording_id = await device.recording()
    audio = await device.start(recording_id)
    image = await device.start(recording_id, type="image")
    await device.put(audio, AUDIO)
    await device.put(image, FIRST)
    refusal = await device.complete(recording_id, 409, content_sha256=sha256(SECOND))
    assert refusal["error"]["code"] == "integrity_failure"
    shown = await device.read(recording_id)
    assert [media["status"] for media in shown["media"]] == ["failed", "pending"]
    await device.put(await device.start(recording_id), AUDIO)
    done = await device.complete(recording_id, content_sha256=sha256(AUDIO))
    assert [media["status"] for media in done["media"]] == ["uploaded", "uploaded"]


async def test_once_uploaded_a_bad_media_fails_alone(device: Device, ports: Ports) -> None:
    recording_id, _ = await device.upload(AUDIO)
    before = await device.read(recording_id)
    good = await device.start(recording_id, type="image")
    await device.put(good, FIRST)
    bad = await device.start(recording_id, type="image")
    async with ports.database.acquire() as connection:
        staged: str = await connection.fetchval(
            "SELECT staging_key FROM upload_attempts WHERE world_id = $1 AND media_id = $2",
            device.tenant.test_world,
            bad["media_id"],
        )
    # A store of another make takes more than the URL allows: the limit is found at completion.
    await ports.store.put(staged, b"x" * (50 * 2**20 + 1))
    refusal = await device.complete(recording_id, 409)
    assert refusal["error"]["code"] == "integrity_failure"
    assert refusal["error"]["resource_id"] == bad["media_id"]
    after = await device.read(recording_id)
    assert [media["status"] for media in after["media"]] == ["uploaded", "uploaded", "failed"]
    for name in ("status", "uploaded_at", "content_sha256", "file_size_bytes"):
        assert after[name] == before[name]
    assert (await device.complete(recording_id))["status"] == "uploaded"


async def test_a_repeat_hears_of_its_own_refusal_and_not_of_another_image(device: Device) -> None:
    recording_id = await device.recording()

    async def image(content: bytes, expect: int) -> None:
        upload = await device.start(recording_id, type="image")
        await device.put(upload, content)
        for _ in range(2):  # the answer may be lost
            await device.complete(recording_id, expect, **facts)

    facts = {"content_sha256": sha256(b"first"), "file_size_bytes": 5}
    await image(b"first", 200)
    await image(b"other", 409)
    await image(b"first", 200)
    await image(b"third", 409)
    await device.complete(recording_id, 200)
    shown = await device.read(recording_id)
    assert [each["status"] for each in shown["media"]] == ["uploaded", "failed", "uploaded", "failed"]
