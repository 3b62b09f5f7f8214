"""Recordings themselves: announced, listed, changed, and seen by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from lapel.foundation.http.input.pagination import PageQuery, window
from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.records import list_queries, record_queries
from tests.recordings.support import Device
from tests.support.tenants import Tenant, bearer, make_key

NULL_BEFORE_UPLOAD = (
    "device_id", "name", "upload_method", "duration_ms", "duration_seconds", "started_at", "ended_at",
    "recorded_at", "transcription_id", "content_sha256", "content_sha256_verified_at", "file_size_bytes",
    "mime_type", "recording_uuid", "recording_generation", "encryption_version", "uploaded_at", "deleted_at",
)  # fmt: skip


async def test_every_key_exists_even_when_null(device: Device) -> None:
    person = await device.end_user()
    made = await device.post("/v1/recordings", 201, {"end_user_id": person})
    for name in NULL_BEFORE_UPLOAD:
        assert name in made
        assert made[name] is None, name
    assert made["project_id"] == device.tenant.project_id
    assert made["end_user_id"] == person
    assert (made["status"], made["source"], made["media"], made["metadata"]) == (
        "pending",
        "api_upload",
        [],
        {},
    )
    assert made["consent_obtained"] is False
    assert await device.read(made["id"]) == made


async def test_facts_are_kept_and_times_come_back_in_utc(device: Device) -> None:
    facts = {
        "name": "Standup ☀",
        "source": "app_import",
        "upload_method": "wifi",
        "started_at": "2026-01-15T13:00:00.123456+01:00",
        "ended_at": "2026-01-15T12:30:00Z",
        "metadata": {"room": "A", "n": [1, 2.5, None]},
        "consent_obtained": True,
        "encryption_version": 2,
        "unknown": "ignored",
    }
    made = await device.post("/v1/recordings", 201, {"end_user_id": await device.end_user(), **facts})
    assert made["started_at"] == "2026-01-15T12:00:00.123Z"
    assert made["ended_at"] == "2026-01-15T12:30:00.000Z"
    assert made["recorded_at"] == made["started_at"]
    for name in ("name", "source", "upload_method", "metadata", "consent_obtained", "encryption_version"):
        assert made[name] == facts[name]


UUID = "6f1c0d3e-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "end_user_id"),
        ({"started_at": "2026-01-15T12:00:00"}, "started_at"),
        ({"started_at": "2026-01-15T12:00:01Z", "ended_at": "2026-01-15T12:00:00Z"}, "ended_at"),
        ({"source": "telepathy"}, "source"),
        ({"recording_uuid": UUID, "recording_generation": 0}, "recording_generation"),
        ({"recording_uuid": UUID, "recording_generation": 2**32}, "recording_generation"),
        ({"recording_uuid": UUID}, "recording_generation"),
        ({"recording_generation": 1}, "recording_uuid"),
        ({"recording_uuid": "6f1c", "recording_generation": 1}, "recording_uuid"),
        ({"encryption_version": 0}, "encryption_version"),
        ({"upload_method": "Wi-Fi"}, "upload_method"),
        ({"upload_method": "x" * 65}, "upload_method"),
        ({"metadata": {"k" * 65: 1}}, "metadata"),
        ({"name": 5}, "name"),
    ],
)
async def test_what_is_refused(device: Device, body: dict[str, object], param: str) -> None:
    if param != "end_user_id":
        body = {"end_user_id": await device.end_user(), **body}
    refusal = await device.post("/v1/recordings", 400, body)
    assert refusal["error"]["param"] == param


async def test_an_unknown_owner_is_404(device: Device) -> None:
    await device.post("/v1/recordings", 404, {"end_user_id": "eu_nobody"})
    await device.post("/v1/recordings", 404, {"device_id": "dev_nothing"})


async def test_the_owner_comes_from_the_bound_device(device: Device) -> None:
    made = await device.post("/v1/devices", 201, {"serial_number": "OWNER001"})
    refusal = await device.post("/v1/recordings", 400, {"device_id": made["id"]})
    assert refusal["error"]["param"] == "end_user_id"
    person = await device.end_user()
    await device.post(f"/v1/devices/{made['id']}/bind", 200, {"end_user_id": person})
    recording = await device.post("/v1/recordings", 201, {"device_id": made["id"]})
    assert (recording["end_user_id"], recording["device_id"]) == (person, made["id"])


async def test_a_repeated_uuid_is_the_same_recording_if_everything_agrees(device: Device) -> None:
    made = await device.post("/v1/devices", 201, {"serial_number": "UUID0001"})
    body = {
        "end_user_id": await device.end_user(),
        "device_id": made["id"],
        "recording_uuid": "6F1C0D3E-0000-4000-8000-00000000000A",
        "recording_generation": 3,
        "started_at": "2026-01-15T12:00:00Z",
        "metadata": {"a": 1},
    }
    first = await device.post("/v1/recordings", 201, body)
    assert first["recording_uuid"] == body["recording_uuid"].lower()
    assert await device.post("/v1/recordings", 200, body) == first
    lower = {**body, "recording_uuid": first["recording_uuid"]}
    assert await device.post("/v1/recordings", 200, lower) == first
    again = {**body, "started_at": "2026-01-15T13:00:00+01:00"}
    del again["metadata"]
    assert await device.post("/v1/recordings", 200, again) == first
    for differing in (
        {"started_at": "2026-01-15T12:00:01Z"},
        {"metadata": {"a": 2}},
        {"name": "Other"},
    ):
        refusal = await device.post("/v1/recordings", 409, {**body, **differing})
        assert refusal["error"]["code"] == "conflict"
        assert refusal["error"]["resource_id"] == first["id"]
    for generation in (1, 4, 2**32 - 1):
        other = await device.post("/v1/recordings", 201, {**body, "recording_generation": generation})
        assert (other["id"] != first["id"], other["recording_generation"]) == (True, generation)
    someone = {**body, "end_user_id": await device.end_user()}
    assert (await device.post("/v1/recordings", 409, someone))["error"]["code"] == "conflict"


async def test_a_repeat_by_idempotency_key_is_the_same_recording(device: Device) -> None:
    body = {"end_user_id": await device.end_user(), "name": "Once"}
    first = await device.post("/v1/recordings", 201, body, **{"Idempotency-Key": "r1"})
    assert await device.post("/v1/recordings", 201, body, **{"Idempotency-Key": "r1"}) == first
    await device.call("DELETE", f"/v1/recordings/{first['id']}", 204)
    await device.post("/v1/recordings", 404, body, **{"Idempotency-Key": "r1"})


async def test_patch_changes_what_is_given(device: Device) -> None:
    recording_id = await device.recording(name="Before", metadata={"a": 1}, started_at="2026-01-15T12:00:00Z")
    path = f"/v1/recordings/{recording_id}"
    before = await device.read(recording_id)
    assert await device.call("PATCH", path, 200, {}) == before
    changed = await device.call("PATCH", path, 200, {"name": None, "ended_at": "2026-01-15T12:10:00Z"})
    assert (changed["name"], changed["ended_at"]) == (None, "2026-01-15T12:10:00.000Z")
    assert changed["metadata"] == {"a": 1}
    changed = await device.call("PATCH", path, 200, {"metadata": {"b": 2}})
    assert changed["metadata"] == {"b": 2}
    assert (await device.call("PATCH", path, 200, {"metadata": None}))["metadata"] == {}
    refusal = await device.call("PATCH", path, 400, {"started_at": "2026-01-15T12:11:00Z"})
    assert refusal["error"]["param"] == "ended_at"
    assert (await device.read(recording_id))["started_at"] == "2026-01-15T12:00:00.000Z"


async def test_a_list_is_filtered_and_walked(device: Device) -> None:
    person, other = await device.end_user(), await device.end_user()
    made = [
        await device.recording(end_user_id=person, recorded_at=f"2026-01-{day:02d}T00:00:00Z")
        for day in range(1, 8)
    ]
    await device.recording(end_user_id=other)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await device.call("GET", f"/v1/recordings?end_user_id={person}&limit=3&cursor={cursor}", 200)
        seen += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            assert page["next_cursor"] is None
            break
        cursor = page["next_cursor"]
    assert seen == list(reversed(made))
    between = await device.call(
        "GET", "/v1/recordings?recorded_after=2026-01-03T00:00:00Z&recorded_before=2026-01-05T00:00:00Z", 200
    )
    assert [each["id"] for each in between["data"]] == [made[3], made[2]]
    # Whether the newest recordings fill the page, or all of the range are read.
    for filters, wanted in (
        ("recorded_after=2026-01-03T00:00:00Z", made[:1:-1]),
        ("recorded_before=2026-01-03T00:00:00Z", [made[1], made[0]]),
        ("recorded_after=2027-01-01T00:00:00Z", []),
    ):
        for limit, offset in ((1, 0), (1, 1), (2, 0), (2, 3), (5, 0), (100, 0)):
            path = f"/v1/recordings?end_user_id={person}&{filters}&limit={limit}&offset={offset}"
            page = await device.call("GET", path, 200)
            assert [each["id"] for each in page["data"]] == wanted[offset : offset + limit]
            assert page["has_more"] == (len(wanted) > offset + limit)
    for unused in ("processing", "completed", "streaming", "integrity_failure"):
        assert (await device.call("GET", f"/v1/recordings?status={unused}", 200))["data"] == []
    assert len((await device.call("GET", "/v1/recordings?status=pending&offset=6", 200))["data"]) == 2
    await device.call("GET", "/v1/recordings?status=lost", 400)
    await device.call("GET", "/v1/recordings?recorded_after=2026-01-03", 400)


MOVED = "UPDATE recordings SET created_at = $3, recorded_at = $4 WHERE world_id = $1 AND id = $2"
# Hours from the time of a recording until it is created. With more than 24, lists find it by another index.
UPLOADED_AFTER = (-49, -25, -24, -1, 0, 1, 23, 24, 25, 49)


async def test_a_list_by_time_has_recordings_of_late_uploads_and_wrong_clocks(
    device: Device, ports: Ports
) -> None:
    noon, hour = datetime(2026, 3, 1, 12, tzinfo=UTC), timedelta(hours=1)
    person = await device.end_user()
    made: dict[str, tuple[datetime, datetime]] = {}
    for number, after in enumerate(UPLOADED_AFTER):
        recorded_at = noon + number % 3 * hour
        made[await device.recording(end_user_id=person)] = recorded_at + after * hour, recorded_at
    async with ports.database.acquire() as connection:
        for recording_id, times in made.items():
            await connection.execute(MOVED, device.tenant.test_world, recording_id, *times)
    newest_first = sorted(made, key=lambda each: (made[each][0], each), reverse=True)
    edges = [noon + hours * hour for hours in (-30, 0, 1, 2, 3, 30)]
    for since, until in combinations(edges, 2):
        wanted = [each for each in newest_first if since <= made[each][1] < until]
        times = f"recorded_after={since:%Y-%m-%dT%H:%M:%SZ}&recorded_before={until:%Y-%m-%dT%H:%M:%SZ}"
        for filters, limit, offset in ((times, 3, 2), (f"{times}&end_user_id={person}", 100, 0)):
            path = f"/v1/recordings?{filters}&limit={limit}&offset={offset}"
            page = await device.call("GET", path, 200)
            assert [each["id"] for each in page["data"]] == wanted[offset : offset + limit], path
            assert page["has_more"] == (len(wanted) > offset + limit)


async def test_a_list_shows_each_recording_as_it_is_alone(device: Device) -> None:
    recording_id, _ = await device.upload(b"words")
    await device.start(recording_id, type="image")
    (listed,) = (await device.call("GET", "/v1/recordings", 200))["data"]
    assert listed == await device.read(recording_id)
    assert len(listed["media"]) == 2


MANY_MEDIA = """
INSERT INTO media (world_id, id, recording_id, type, status, content_type, created_at,
        last_url_expires_at, reconcile_at)
SELECT r.world_id, 'med_' || substr(r.id, 8) || lpad(n::text, 3, '0'), r.id, 'image', 'pending', 'image/jpeg',
    r.created_at + make_interval(secs => n), r.created_at, r.created_at
FROM recordings r, generate_series(1, 500) n WHERE r.world_id = $1
"""


async def test_many_media_repeat_no_metadata_and_end_a_page(device: Device, ports: Ports) -> None:
    """Each media is a row of its own: with the metadata in each, a page would be 800 MiB of them."""
    world, metadata = device.tenant.test_world, {"text": "x" * 16_000}
    facts = {"metadata": metadata, "recorded_at": "2026-01-15T12:00:00Z"}
    made = [await device.recording(**facts) for _ in range(13)]
    async with ports.database.acquire() as connection:
        await connection.execute(MANY_MEDIA, world)
        found = await list_queries.list_page(connection, world, window(PageQuery(limit=100), ""), {})
        alone = await record_queries.read(connection, [Reach(world, made[0])] * 2)
    assert [each.id for each in found] == made[:1:-1]
    for each in (*found, *alone):
        assert each is not None
        first, *others = [row.metadata for row in each.rows]
        assert (len(first) > 16_000, set(others), len(others)) == (True, {"{}"}, 499)
    for filters, skipped in (("", 0), ("&recorded_after=2026-01-01T00:00:00Z", 0), ("&offset=1", 1)):
        page = await device.call("GET", f"/v1/recordings?limit=100{filters}", 200)
        seen = page["data"]
        while page["has_more"]:
            path = f"/v1/recordings?limit=100&cursor={page['next_cursor']}{filters.replace('&offset=1', '')}"
            page = await device.call("GET", path, 200)
            seen += page["data"]
        assert [each["id"] for each in seen] == made[::-1][skipped:]
        for each in seen:
            times = [media["created_at"] for media in each["media"]]
            assert (times, len(times), each["metadata"]) == (sorted(times), 500, metadata)


async def test_the_answer_to_a_repeat_has_64_kib_at_most(device: Device, ports: Ports) -> None:
    made = await device.post("/v1/devices", 201, {"serial_number": "MANY0001"})
    body = {
        "device_id": made["id"],
        "recording_uuid": "6f1c0d3e-0000-4000-8000-00000000000b",
        "recording_generation": 1,
        "metadata": {"numbers": [1] * 8_000},
    }
    recording_id = await device.recording(**body)
    audio = (await device.start(recording_id))["media_id"]
    async with ports.database.acquire() as connection:
        await connection.execute(MANY_MEDIA.replace("500", "499"), device.tenant.test_world)
    seen = await device.read(recording_id)
    body["end_user_id"] = seen["end_user_id"]
    answer = await device.client.post("/v1/recordings", json=body, headers=device.headers)
    assert (answer.status_code, 65_000 < len(answer.content) <= 65_536) == (200, True)
    media = answer.json()["media"]
    assert {**answer.json(), "media": seen["media"]} == seen
    newest = [each for each in seen["media"] if each["id"] != audio][1 - len(media) :]
    assert [each for each in media if each["id"] != audio] == newest
    assert len(newest) == len(media) - 1


async def test_a_key_scoped_to_one_end_user_sees_and_makes_only_theirs(
    device: Device, tenant: Tenant, ports: Ports
) -> None:
    mine, theirs = await device.end_user(), await device.end_user()
    own = await device.recording(end_user_id=mine)
    other, media = await device.upload(b"secret", end_user_id=theirs)
    key = bearer(await make_key(ports, tenant.test_world, "rk_test", end_user_id=mine))
    listed = await device.call("GET", "/v1/recordings", 200, **key)
    assert [each["id"] for each in listed["data"]] == [own]
    assert (await device.call("GET", f"/v1/recordings?end_user_id={theirs}", 200, **key))["data"] == []
    await device.call("GET", f"/v1/recordings/{own}", 200, **key)
    implied = await device.post("/v1/recordings", 201, {}, **key)
    assert implied["end_user_id"] == mine
    await device.post("/v1/recordings", 404, {"end_user_id": theirs}, **key)
    await device.call("GET", f"/v1/recordings/{other}", 404, **key)
    await device.call("PATCH", f"/v1/recordings/{other}", 404, {"name": "x"}, **key)
    await device.call("DELETE", f"/v1/recordings/{other}", 404, **key)
    await device.post(f"/v1/recordings/{other}/upload-url", 404, {}, **key)
    await device.post(f"/v1/recordings/{other}/upload-complete", 404, {}, **key)
    await device.post(f"/v1/recordings/{other}/download-url", 404, {"media_id": media}, **key)
    await device.call("GET", f"/v1/recordings/{other}/download-url", 404, **key)
    assert await device.download(other, media) == b"secret"


async def test_an_end_user_reads_their_own_with_their_token(device: Device) -> None:
    mine = await device.end_user()
    own, media = await device.upload(b"mine", end_user_id=mine)
    other, other_media = await device.upload(b"theirs")
    token = bearer((await device.post(f"/v1/end-users/{mine}/token", 201))["token"])
    listed = await device.call("GET", "/v1/recordings", 200, **token)
    assert [each["id"] for each in listed["data"]] == [own]
    await device.post(f"/v1/recordings/{own}/download-url", 200, {"media_id": media}, **token)
    await device.post(f"/v1/recordings/{other}/download-url", 404, {"media_id": other_media}, **token)
    await device.call("GET", f"/v1/recordings/{other}", 404, **token)
    await device.post(f"/v1/recordings/{own}/upload-url", 403, {}, **token)


async def test_another_project_and_the_other_world_see_nothing(
    device: Device, tenant: Tenant, stranger: Tenant
) -> None:
    recording_id, media = await device.upload(b"ours")
    for headers in (stranger.headers, tenant.live_headers):
        assert (await device.call("GET", "/v1/recordings", 200, **headers))["data"] == []
        await device.call("GET", f"/v1/recordings/{recording_id}", 404, **headers)
        await device.call("DELETE", f"/v1/recordings/{recording_id}", 404, **headers)
        body = {"media_id": media}
        await device.post(f"/v1/recordings/{recording_id}/download-url", 404, body, **headers)
        await device.post(f"/v1/recordings/{recording_id}/upload-complete", 404, {}, **headers)


async def test_the_source_follows_the_device_unless_it_is_given(device: Device) -> None:
    person = await device.end_user()
    made = await device.post("/v1/devices", 201, {"serial_number": "SOURCE01"})
    bound = await device.post(f"/v1/devices/{made['id']}/bind", 200, {"end_user_id": person})
    own, named = bearer(bound["device_token"]), {"device_id": made["id"]}
    for body, headers, source in (
        ({"end_user_id": person}, {}, "api_upload"),
        (named, {}, "device"),
        (named | {"source": "app_import"}, {}, "app_import"),
        ({"end_user_id": person, "source": "device"}, {}, "device"),
        ({"source": "api_upload"}, own, "device"),
    ):
        recording = await device.post("/v1/recordings", 201, body, **headers)
        assert recording["source"] == source, body


async def test_any_word_in_lower_case_is_an_upload_method(device: Device) -> None:
    person = await device.end_user()
    for method in ("ble", "wifi_direct", "4g_direct", "import", "unknown", "x" * 64):
        body = {"end_user_id": person, "upload_method": method}
        assert (await device.post("/v1/recordings", 201, body))["upload_method"] == method


async def test_a_list_is_narrowed_to_a_device_and_a_status(device: Device) -> None:
    person = await device.end_user()
    made = await device.post("/v1/devices", 201, {"serial_number": "NARROW01"})
    waiting = await device.recording(end_user_id=person, device_id=made["id"])
    done, _ = await device.upload(b"said", end_user_id=person, device_id=made["id"])
    await device.recording(end_user_id=person)
    by_device = f"/v1/recordings?device_id={made['id']}"
    for query, expected in (("", [done, waiting]), ("&status=uploaded", [done]), ("&status=failed", [])):
        page = await device.call("GET", by_device + query, 200)
        assert [each["id"] for each in page["data"]] == expected
