"""After the deletion of an end user its events are in no answer and no delivery, also before the job ran."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx

from lapel.slices.events.queries import read_stream, size
from lapel.slices.transcription.views import stored_segments
from lapel.slices.transcription.work import lifecycle
from lapel.slices.webhooks import queries
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.records import recovery_queries
from tests.recordings.support import Device
from tests.support.erasing import delete_rows
from tests.support.spoken import TRANSCRIPT
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import Receiver, World, answer, delivering

BEGINNING = (datetime(2000, 1, 1, tzinfo=UTC), "")
MANY = 1000


async def shown(world: World, operator: Device, resource: str) -> dict[str, set[str]]:
    """The events of each answer about events or deliveries, and of what a recovery would send again."""
    lists: dict[str, set[str]] = {}
    for query in ("", "&types=recording.*,transcription.*", f"&resource_id={resource}"):
        page = await operator.call("GET", f"/v1/events?limit=100{query}", 200)
        lists[query] = {each["id"] for each in page["data"]}
    (webhook,) = await world.fetch("SELECT id FROM webhooks WHERE world_id = $1", world.id)
    for name, query in (("deliveries", ""), ("failing deliveries", "&status=pending")):
        page = await operator.call("GET", f"/v1/webhooks/{webhook['id']}/deliveries?limit=100{query}", 200)
        lists[name] = {each["event_id"] for each in page["data"]}
    async with world.ports.database.acquire() as connection:
        streamed = await read_stream(connection, world.id, 0, None, MANY, 2**20)
        walked = await recovery_queries.walk(connection, world.id, BEGINNING, MANY)
        rows = await connection.fetch("SELECT id, body FROM events WHERE world_id = $1", world.id)
    bodies = {row.body for row in streamed}
    lists["stream"] = {row["id"] for row in rows if row["body"] in bodies}
    lists["recovery"] = {row.id for row in walked}
    return lists


async def test_no_event_of_a_deleted_end_user_is_shown_or_sent_before_the_job(
    world: World, receiver: Receiver, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    operator, ports = Device(client, tenant, tenant.headers), world.ports
    person, other = await operator.end_user(), await operator.end_user()
    webhook = await world.webhook(receiver.url)
    recording, _ = await operator.upload(b"OggS" + bytes(99), end_user_id=person)
    made = await operator.post("/v1/transcriptions", 201, {"recording_id": recording})
    async with ports.database.transaction() as connection:
        await lifecycle.start(connection, ports, world.id, made["id"])
        segments = stored_segments(TRANSCRIPT.segments)
        await lifecycle.complete(connection, ports, world.id, made["id"], TRANSCRIPT, segments)
    kept = await operator.recording(end_user_id=other)
    rows = await world.fetch("SELECT id, type, resource_id FROM events WHERE world_id = $1", world.id)
    of_person = {row["id"] for row in rows if row["resource_id"] != kept}
    of_other = {row["id"] for row in rows if row["resource_id"] == kept}
    types = {row["type"] for row in rows if row["id"] in of_person}
    assert types >= {"recording.created", "recording.uploaded", "transcription.completed"}
    receiver.script(*[answer(500)] * len(rows))
    async with delivering(ports):
        await world.attempted(len(rows))
    before = await shown(world, operator, recording)
    assert before.pop(f"&resource_id={recording}") < of_person
    assert [of_person & found for found in before.values()] == [of_person] * 6
    deliveries = {row["event_id"]: row["id"] for row in await world.deliveries()}
    one = f"/v1/webhooks/{webhook.id}/deliveries"
    for each in of_person:
        await operator.call("GET", f"{one}/{deliveries[each]}", 200)

    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    for name, found in (await shown(world, operator, recording)).items():
        assert not of_person & found, name
        assert of_other <= found or name.startswith("&resource_id"), name
    async with ports.database.transaction() as connection:
        for each in of_person:
            await operator.call("GET", f"/v1/events/{each}", 404)
            await operator.call("GET", f"{one}/{deliveries[each]}", 404)
            await operator.call("POST", f"{one}/{deliveries[each]}/redeliver", 404)
            assert await size(connection, world.id, each) == 0
            assert await queries.find_placed(connection, world.id, each) is None
            assert await claim_queries.read_body(connection, world.id, deliveries[each]) is None
    receiver.received.clear()
    async with delivering(ports):
        await world.all_due()
        await world.settled(len(of_other))
        await operator.call("PATCH", f"/v1/end-users/{other}", 200, {"name": "Joan"})
        last = await world.publish()
        await world.settled(len(of_other) + 1)
        assert {request.event_id for request in receiver.received} == {*of_other, last}

        await delete_rows(ports, world.id, person)
        await world.settled(len(of_other) + 2)
    deleted = receiver.received[-1]
    assert deleted.data()["id"] == deleted.data()["recording"]["id"] == recording
    left = await world.fetch("SELECT id, type FROM events WHERE world_id = $1", world.id)
    assert not of_person & {row["id"] for row in left}
    assert [row["type"] for row in left].count("recording.deleted") == 1
