"""The stream of requests: of every process, of one world, without secrets."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from lapel.foundation.core.clock import timestamp
from tests.logs.support import STREAM, Pair, known, shown, until
from tests.support.event_stream import following, some
from tests.support.tenants import bearer, make_key, make_tenant

LISTENER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'LISTEN%lapel_requests%'
"""


async def test_a_tail_shows_the_requests_of_every_process(pair: Pair) -> None:
    before = timestamp(pair.one.ports.clock.now())
    async with pair.tail() as events:
        answers = [
            await pair.client.get("/v1/recordings?limit=3", headers=pair.tenant.headers),
            await pair.client.post("/v1/end-users", json={}, headers=pair.tenant.headers),
            await pair.client.get("/v1/devices/dev_none", headers=pair.tenant.headers),
        ]
        found = await shown(events, 3)
        own = await pair.client_of_one.get("/v1/usage", headers=pair.tenant.headers)
        (here,) = await shown(events, 1)
    assert here["request_id"] == own.headers["x-request-id"]
    assert [each["request_id"] for each in found] == [each.headers["x-request-id"] for each in answers]
    assert [(each["method"], each["path"], each["status"], each["error_code"]) for each in found] == [
        ("GET", "/v1/recordings", 200, None),
        ("POST", "/v1/end-users", 201, None),
        ("GET", "/v1/devices/dev_none", 404, "not_found"),
    ]
    entry = (await pair.client.get("/v1/audit-log?limit=1", headers=pair.tenant.headers)).json()["data"][0]
    assert (entry["request_id"], entry["actor"], entry["address"]) == (
        found[1]["request_id"], found[1]["actor"], found[1]["address"]
    )  # fmt: skip
    for each in found:
        assert before <= each["created_at"] <= timestamp(pair.one.ports.clock.now())
        assert 0 < each["duration_ms"] < 30_000


async def test_refusals_of_a_known_caller_are_shown_and_those_of_others_are_not(pair: Pair) -> None:
    scopeless = await make_key(pair.one.ports, pair.tenant.test_world, "rk_test", scopes=("devices:read",))
    async with pair.tail() as events:
        for headers in ({}, bearer("sk_test_nonsense"), pair.tenant.headers):
            await pair.client.get("/v1/nothing", headers=headers)
        for headers in ({}, bearer("sk_test_nonsense"), bearer(scopeless)):
            await pair.client.get("/v1/recordings", headers=headers)
        await pair.client.get("/v1/recordings?limit=x", headers=pair.tenant.headers)
        found = await shown(events, 2)
    assert [(each["status"], each["error_code"]) for each in found] == [
        (403, "forbidden"), (400, "invalid_request")
    ]  # fmt: skip


async def test_each_world_has_its_own_stream(pair: Pair) -> None:
    stranger = await make_tenant(pair.one.ports)
    async with (
        pair.tail() as events,
        pair.tail(is_live=True) as of_live,
        pair.tail(tenant=stranger) as of_stranger,
    ):
        for each in (pair.tenant.live_headers, stranger.headers, pair.tenant.headers):
            await pair.client.get("/v1/devices", headers=each)
        seen = [(await shown(each, 1))[0]["actor"]["id"] for each in (events, of_live, of_stranger)]
        # Each stream gets its world's next request, so it got no other world's before.
        for each in (pair.tenant.headers, pair.tenant.live_headers, stranger.headers):
            await pair.client.get("/v1/usage", headers=each)
        then = [(await shown(each, 1))[0] for each in (events, of_live, of_stranger)]
    assert len(set(seen)) == 3
    assert [each["actor"]["id"] for each in then] == seen
    assert {each["path"] for each in then} == {"/v1/usage"}


async def test_no_secret_is_shown(pair: Pair) -> None:
    headers, client = pair.tenant.headers, pair.client
    person = (await client.post("/v1/end-users", json={}, headers=headers)).json()["id"]
    device = {"serial_number": f"LOG{person[-8:]}", "model": "bota_pin"}
    made = (await client.post("/v1/devices", json=device, headers=headers)).json()["id"]
    bound = await client.post(f"/v1/devices/{made}/bind", json={"end_user_id": person}, headers=headers)
    token = bound.json()["device_token"]
    recording = (await client.post("/v1/recordings", json={"end_user_id": person}, headers=headers)).json()[
        "id"
    ]
    async with pair.tail() as events:
        upload = await client.post(
            f"/v1/recordings/{recording}/upload-url",
            json={"content_type": "audio/ogg", "file_name": "private-name.ogg"},
            headers=headers,
        )
        link = upload.json()["upload_url"]
        # The store's requests belong to no caller of the API, so they are not shown.
        await client.put(link, content=b"x", headers=upload.json()["headers"])
        await client.post("/v1/devices/me/heartbeat", json={"battery_level": 5}, headers=bearer(token))
        key = pair.tenant.test_key
        for path in (
            f"/v1/recordings?search={key}&signature={token}",
            f"/v1/devices/{key}",
            f"/v1/devices/dev_{token}",
            f"/v1/devices/{token[:20]}",
            f"/v1/recordings/{'A1' * 60}",
        ):
            await client.get(path, headers=headers)
        found = [(each.data or b"").decode() for each in await some(events, 7)]
    assert [json.loads(each)["path"] for each in found] == [
        f"/v1/recordings/{recording}/upload-url",
        "/v1/devices/me/heartbeat",
        "/v1/recordings",
        "/v1/devices/sk_test_***",
        "/v1/devices/dev_dtok_***",
        "/v1/devices/dtok_***",
        "/v1/recordings/***",
    ]
    assert json.loads(found[1])["actor"] == {"kind": "device", "id": made}
    text = "".join(found)
    secrets = [key, token, link, link.partition("?")[2], "Signature", "private-name", "battery"]
    assert [each for each in secrets if each in text] == []
    assert not re.search(r"[A-Za-z0-9]{25}", text)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ({"method": "post, delete"}, ["POST /v1/end-users 201", "DELETE /v1/devices/dev_1 404"]),
        ({"status": "404"}, ["GET /v1/devices/dev_1 404", "DELETE /v1/devices/dev_1 404"]),
        ({"status": "2xx,405"}, ["GET /v1/devices 200", "POST /v1/end-users 201"]),
        ({"path": "/v1/devices/"}, ["GET /v1/devices/dev_1 404", "DELETE /v1/devices/dev_1 404"]),
        ({"path": "/v1/d", "method": "GET", "status": "2xx"}, ["GET /v1/devices 200"]),
        ({"actor": "device"}, []),
    ],
    ids=str,
)
async def test_filters(pair: Pair, only: dict[str, str], expected: list[str]) -> None:
    async with pair.tail() as everything, pair.tail(only) as events:
        for method, path in (
            ("GET", "/v1/devices"), ("POST", "/v1/end-users"), ("GET", "/v1/devices/dev_1"),
            ("DELETE", "/v1/devices/dev_1"),
        ):  # fmt: skip
            await pair.client.request(method, path, headers=pair.tenant.headers)
        found = await shown(events, len(expected))
        assert len(await shown(everything, 4)) == 4
    assert [f"{each['method']} {each['path']} {each['status']}" for each in found] == expected


async def test_the_actor_may_be_an_id_or_a_kind(pair: Pair) -> None:
    async with pair.tail() as events:
        await pair.client.get("/v1/devices", headers=pair.tenant.headers)
        (first,) = await shown(events, 1)
    other = await make_key(pair.one.ports, pair.tenant.test_world, "sk_test")
    async with pair.tail({"actor": first["actor"]["id"]}) as by_id, pair.tail({"actor": "key"}) as by_kind:
        for headers in (bearer(other), pair.tenant.headers):
            await pair.client.get("/v1/devices", headers=headers)
        assert (await shown(by_id, 1))[0]["actor"] == first["actor"]
        assert len(await shown(by_kind, 2)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "600"), ("status", "4x"), ("status", "200,"), ("status", "²00"), ("method", "GET,BREW"),
        ("path", "v1"), ("path", "/" + "x" * 200), ("actor", "x" * 65),
        ("actor", "foo"),
    ],
)  # fmt: skip
async def test_a_filter_that_no_request_can_match_is_400(pair: Pair, name: str, value: str) -> None:
    async with following(pair.one.url, pair.tenant.headers, stream=STREAM, **{name: value}) as (answer, _):
        assert answer.status_code == 400
        assert json.loads(await answer.aread())["error"]["param"] == name


async def test_a_tail_shows_other_tails_and_not_itself(pair: Pair) -> None:
    async with (
        pair.tail() as first,
        following(pair.one.url, pair.tenant.headers, stream=STREAM) as (answer, second),
    ):
        own = answer.headers["x-request-id"]
        made = await pair.client_of_one.get("/v1/devices", headers=pair.tenant.headers)
        ids = [own, made.headers["x-request-id"]]
        assert [json.loads(each.data or b"")["request_id"] for each in await some(first, 2)] == ids
        assert (await shown(second, 1))[0]["request_id"] == ids[1]


async def test_when_a_tail_ends_every_process_forgets_it(pair: Pair) -> None:
    world = pair.tenant.test_world
    async with pair.tail():
        async with pair.tail():
            assert [known(each, world) for each in pair.logs] == [2, 2]
        await until(lambda: [known(each, world) for each in pair.logs] == [1, 1])
    await until(lambda: not any(world in each.followed for each in pair.logs))


async def test_a_stream_ends_when_requests_may_have_been_lost(pair: Pair) -> None:
    async with pair.tail() as events:
        async with pair.one.ports.database.acquire() as connection:
            assert await connection.fetchval(LISTENER)
        with pytest.raises(httpx.RemoteProtocolError):  # broken off, so that the client connects again
            await some(events, 1)
    async with pair.tail() as events:
        await pair.client.get("/v1/devices", headers=pair.tenant.headers)
        assert len(await shown(events, 1)) == 1


async def test_the_key_needs_the_scope_of_the_audit_log(pair: Pair) -> None:
    ports, world = pair.one.ports, pair.tenant.test_world
    person = (await pair.client.post("/v1/end-users", json={}, headers=pair.tenant.headers)).json()["id"]
    audits = await make_key(ports, world, "rk_test", scopes=("audit:read",))
    lacking = await make_key(ports, world, "rk_test", scopes=("webhooks:read",))
    restricted = await make_key(ports, world, "rk_test", scopes=("audit:read",), end_user_id=person)
    for key, status in ((audits, 200), (lacking, 403), (restricted, 403)):
        async with following(pair.one.url, bearer(key), stream=STREAM) as (answer, _):
            assert answer.status_code == status
