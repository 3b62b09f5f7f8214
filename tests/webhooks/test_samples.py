"""Test events are like live ones: of every type that Lapel publishes, with the same keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from jsonschema_rs import Draft202012Validator

from lapel import app
from lapel.foundation.core.clock import SystemClock, timestamp
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.wire import EVENT_TYPES
from tests.support.declared import described_api
from tests.support.event_check import check_alike, sample_of
from tests.support.spoken import complete_transcription
from tests.support.strict.events import TYPES, check_event
from tests.support.strict.webhooks import TYPES as TYPES_OF_THE_CONTRACT
from tests.support.tenants import Tenant, bearer

MAKERS = {name: make for each in app.SLICES for name, make in each.events.items()}
EVENTS = "SELECT type, body FROM events WHERE world_id = $1"


def test_every_type_of_the_contract_but_summaries_has_a_sample() -> None:
    assert set(EVENT_TYPES) == set(TYPES_OF_THE_CONTRACT)
    assert set(MAKERS) == set(EVENT_TYPES)
    (schema,) = (described_api()["components"]["schemas"]["SendTest"]["properties"]["type"]["enum"],)
    assert set(schema) == set(MAKERS)


@pytest.mark.parametrize("type_", sorted(MAKERS))
def test_a_sample_is_what_the_contract_and_the_document_say(type_: str) -> None:
    ids, now = TimeOrderedIds(SystemClock()), datetime.now(UTC)
    sample = MAKERS[type_](ids, now, ids.new("proj"))
    data = json.loads(sample.data)
    body = {"id": ids.new("evt"), "type": type_, "created_at": timestamp(now), "data": data}
    check_event(json.dumps(body).encode())
    assert data["id"] == sample.resource_id
    nested = TYPES[type_][0]
    if type_ not in ("recording.deleted", "config.updated"):  # no GET answers with these
        schema = {**described_api(), "$ref": f"#/components/schemas/{nested.capitalize()}"}
        shown = data[nested]
        if nested == "transcription":  # the copy leaves texts out; GET has them
            shown = {**shown, "text": None, "full_text": None}
        if nested == "summary":  # the copy leaves the output out
            shown = {**shown, "output": data["output"]}
        Draft202012Validator(schema).validate(shown)


async def test_live_events_have_the_keys_of_samples(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    async def post(path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        answer = await client.post(f"/v1{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    keys = tenant.headers
    person = await post("/end-users", {}, keys)
    device = await post("/devices", {"serial_number": "LIVE0001", "model": "bota_pin"}, keys)
    bound = await post(f"/devices/{device['id']}/bind", {"end_user_id": person["id"]}, keys)
    token = bearer(bound["device_token"])
    await post("/devices/me/heartbeat", {"battery_percent": 5}, token)
    recording = await post("/recordings", {}, token)
    path = f"/recordings/{recording['id']}"
    upload = await post(f"{path}/upload-url", {"content_type": "audio/ogg"}, token)
    await client.put(upload["upload_url"], content=b"OggS" + bytes(999), headers=upload["headers"])
    await post(f"{path}/upload-complete", {}, token)
    await post(f"/devices/{device['id']}/unbind", {}, keys)
    made = await post("/transcriptions", {"recording_id": recording["id"]}, keys)
    await complete_transcription(ports, tenant.test_world, made["id"])
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(EVENTS, tenant.test_world)
    await client.delete(f"/v1{path}", headers=keys)
    async with ports.database.acquire() as connection:
        rows += await connection.fetch(EVENTS, tenant.test_world)
    assert {row["type"] for row in rows} >= {
        "device.bound",
        "device.low_battery",
        "device.unbound",
        "recording.created",
        "recording.uploaded",
        "recording.deleted",
    }
    for row in rows:
        check_alike(row["body"])


def test_a_missing_key_is_noticed() -> None:
    data = sample_of("device.bound")
    del data["device"]["name"]
    with pytest.raises(AssertionError):
        check_alike(json.dumps({"type": "device.unbound", "data": data}).encode())
    sample_of.cache_clear()
