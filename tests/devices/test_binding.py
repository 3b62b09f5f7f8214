"""Who wears which device, and the tokens that come and go with it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.errors import Unauthorized
from lapel.foundation.ports import Ports
from lapel.slices.devices.service import DeviceBindings
from lapel.slices.devices.tokens import token_queries
from tests.support.declared import authenticator
from tests.support.locks import until_waiting
from tests.support.running import Running
from tests.support.tenants import Tenant, bearer, make_key

# As a server of an older release unbinds: it knows no `named_for`.
OLD_UNBIND = """
UPDATE devices SET end_user_id = NULL, public_key = NULL, bound_at = NULL WHERE world_id = $1 AND id = $2
"""
EVENTS = "SELECT type, body FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY id"
PUBLIC_KEY = "SELECT public_key FROM devices WHERE world_id = $1 AND id = $2"


class Wearer:
    """One device and one end user of a test's project."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant, device: str, person: str) -> None:
        self.client = client
        self.tenant = tenant
        self.device = device
        self.person = person

    async def post(self, action: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        return await self.client.post(
            f"/v1/devices/{self.device}/{action}", json=body, headers=headers or self.tenant.headers
        )

    async def bind(self, **more: Any) -> dict[str, Any]:
        answer = await self.post("bind", end_user_id=self.person, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refresh(self, token: str) -> str:
        answer = await self.post("token/refresh", bearer(token))
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"device_token"}
        return answer.json()["device_token"]

    async def works(self, token: str) -> bool:
        """Whether a token is let in where a device may not go: 403; a replaced one gets 401."""
        answer = await self.client.get("/v1/devices", headers=bearer(token))
        assert answer.status_code in (401, 403)
        return answer.status_code == 403


@pytest.fixture
async def wearer(client: httpx.AsyncClient, tenant: Tenant) -> Wearer:
    device = await client.post("/v1/devices", json={"serial_number": "BIND0001"}, headers=tenant.headers)
    person = await client.post("/v1/end-users", headers=tenant.headers)
    return Wearer(client, tenant, device.json()["id"], person.json()["id"])


async def test_binding_shows_a_token_once_and_counts(wearer: Wearer, ports: Ports) -> None:
    key = "0123456789abcdef" * 8
    bound = await wearer.bind(pk_d=key)
    assert bound["device_token"].startswith("dtok_")
    assert (bound["status"], bound["end_user_id"]) == ("bound", wearer.person)
    assert bound["binding_generation"] == 1
    assert bound["bound_at"] is not None
    assert await wearer.works(bound["device_token"])
    shown = await wearer.client.get(f"/v1/devices/{wearer.device}", headers=wearer.tenant.headers)
    assert shown.json() == {name: value for name, value in bound.items() if name != "device_token"}
    async with ports.database.acquire() as connection:
        stored = await connection.fetchval(PUBLIC_KEY, wearer.tenant.test_world, wearer.device)
    assert stored == key

    assert (await wearer.post("unbind")).json()["binding_generation"] == 1
    assert (await wearer.bind())["binding_generation"] == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "end_user_id"),
        ({"end_user_id": None}, "end_user_id"),
        ({"end_user_id": "eu_x", "pk_d": "0" * 127}, "pk_d"),
        ({"end_user_id": "eu_x", "pk_d": "0" * 129}, "pk_d"),
        ({"end_user_id": "eu_x", "pk_d": "A" * 128}, "pk_d"),
    ],
)
async def test_a_wrong_binding_is_refused(wearer: Wearer, body: dict[str, Any], param: str) -> None:
    answer = await wearer.post("bind", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_unknown_device_or_end_user_is_not_found(wearer: Wearer) -> None:
    assert (await wearer.post("bind", end_user_id="eu_nobody")).status_code == 404
    wearer.device = "dev_none"
    assert (await wearer.post("bind", end_user_id=wearer.person)).status_code == 404
    assert (await wearer.post("unbind")).status_code == 404


async def test_a_bound_device_is_refused_also_for_the_same_end_user(wearer: Wearer) -> None:
    bound = await wearer.bind()
    answer = await wearer.post("bind", end_user_id=wearer.person)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "device_already_bound"
    assert await wearer.works(bound["device_token"])  # the refused one ended nothing


async def test_a_lost_answer_comes_again_with_its_idempotency_key(wearer: Wearer) -> None:
    headers = {**wearer.tenant.headers, "Idempotency-Key": "bind-1"}
    first = await wearer.post("bind", headers, end_user_id=wearer.person)
    again = await wearer.post("bind", headers, end_user_id=wearer.person)
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert await wearer.works(again.json()["device_token"])


async def test_a_key_that_writes_no_recordings_binds_no_device(wearer: Wearer, ports: Ports) -> None:
    """A device token writes recordings of the end user, so the key that gets one must have this scope."""
    world = wearer.tenant.test_world
    narrow = await make_key(ports, world, "rk_test", scopes=("devices:write",))
    refused = await wearer.post("bind", bearer(narrow), end_user_id=wearer.person)
    assert refused.status_code == 403
    assert "`recordings:write`" in refused.json()["error"]["message"]
    wide = await make_key(ports, world, "rk_test", scopes=("devices:write", "recordings:write"))
    bound = await wearer.post("bind", bearer(wide), end_user_id=wearer.person)
    assert bound.status_code == 200, bound.text
    assert (await wearer.post("unbind", bearer(narrow))).status_code == 200


async def test_of_many_bindings_at_once_one_wins(wearer: Wearer) -> None:
    people = [await wearer.client.post("/v1/end-users", headers=wearer.tenant.headers) for _ in range(8)]
    answers = await asyncio.gather(
        *(wearer.post("bind", end_user_id=person.json()["id"]) for person in people)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    shown = await wearer.client.get(f"/v1/devices/{wearer.device}", headers=wearer.tenant.headers)
    assert shown.json()["end_user_id"] == won["end_user_id"]
    assert shown.json()["binding_generation"] == 1
    assert await wearer.works(won["device_token"])


async def test_unbinding_revokes_at_once_and_again_does_nothing(wearer: Wearer) -> None:
    bound = await wearer.bind()
    token = bearer(bound["device_token"])
    recording = (await wearer.client.post("/v1/recordings", json={}, headers=token)).json()
    assert recording["end_user_id"] == wearer.person
    answer = await wearer.post("unbind")
    assert answer.status_code == 200
    unbound = answer.json()
    assert (unbound["status"], unbound["end_user_id"], unbound["bound_at"]) == ("unbound", None, None)
    assert not await wearer.works(bound["device_token"])
    again = await wearer.post("unbind")
    assert (again.status_code, again.json()) == (200, unbound)
    kept = await wearer.client.get(f"/v1/recordings/{recording['id']}", headers=wearer.tenant.headers)
    assert kept.json() == recording


async def test_events_tell_each_binding_once(wearer: Wearer, ports: Ports) -> None:
    first = await wearer.bind()
    await asyncio.gather(*(wearer.post("unbind") for _ in range(4)))
    second = await wearer.bind()
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(EVENTS, wearer.tenant.test_world, wearer.device)
    assert [row["type"] for row in rows] == ["device.bound", "device.unbound", "device.bound"]
    for row, generation in zip(rows, (1, 1, 2), strict=True):
        event = msgspec.json.decode(row["body"])
        assert set(event) == {"id", "type", "created_at", "data"}
        data = event["data"]
        assert data.pop("device") == data
        assert set(data) == set(first) - {"device_token"}
        assert data["binding_generation"] == generation
        assert data["status"] == row["type"].removeprefix("device.")
        for secret in (first["device_token"], second["device_token"]):
            assert secret.encode() not in row["body"]


async def test_a_refreshed_token_takes_over_when_it_is_first_used(wearer: Wearer) -> None:
    old = (await wearer.bind())["device_token"]
    lost = await wearer.refresh(old)
    assert not await wearer.works(old)  # for everything but asking again
    new = await wearer.refresh(old)
    assert new != lost
    assert not await wearer.works(lost)  # the repeat replaced it, unused
    assert await wearer.works(new)
    assert (await wearer.post("token/refresh", bearer(old))).status_code == 401
    assert await wearer.works(new)

    wearer.device = "me"
    newest = await wearer.refresh(new)
    assert await wearer.works(newest)


async def test_a_new_token_may_be_refreshed_as_its_first_use(wearer: Wearer) -> None:
    first = (await wearer.bind())["device_token"]
    second = await wearer.refresh(first)
    third = await wearer.refresh(second)
    assert (await wearer.post("token/refresh", bearer(first))).status_code == 401
    assert not await wearer.works(second)
    assert await wearer.works(third)
    assert (await wearer.post("token/refresh", bearer(second))).status_code == 401


async def test_a_device_refreshes_its_own_token_only(wearer: Wearer) -> None:
    token = (await wearer.bind())["device_token"]
    own = wearer.device
    for other in ("dev_other", "you"):
        wearer.device = other
        assert (await wearer.post("token/refresh", bearer(token))).status_code == 403
    wearer.device = own
    assert (await wearer.post("token/refresh")).status_code == 403  # a key is no device
    assert await wearer.works(token)


async def test_of_refreshes_at_once_one_new_token_is_left(wearer: Wearer) -> None:
    token = (await wearer.bind())["device_token"]
    for _ in range(4):
        answers = await asyncio.gather(*(wearer.post("token/refresh", bearer(token)) for _ in range(6)))
        assert [answer.status_code for answer in answers] == [200] * 6
        alive = [
            answer.json()["device_token"]
            for answer in answers
            if await wearer.works(answer.json()["device_token"])
        ]
        assert len(alive) == 1
        (token,) = alive


async def test_a_refresh_that_was_overtaken_gets_nothing(wearer: Wearer, live: Running, ports: Ports) -> None:
    """A request let in with a token that another one replaced meanwhile must not end the replacement."""
    authenticate = authenticator(ports)
    old = (await wearer.bind())["device_token"]
    late: Actor = await authenticate(f"Bearer {old}".encode())
    new = await wearer.refresh(old)
    assert await wearer.works(new)
    bindings: DeviceBindings = live.services[DeviceBindings]
    with pytest.raises(Unauthorized):
        await bindings.refresh_token(late, "me")
    assert await wearer.works(new)
    # Nor after the device was given to somebody else.
    current = await authenticate(f"Bearer {new}".encode())
    await wearer.post("unbind")
    await wearer.bind()
    with pytest.raises(Unauthorized):
        await bindings.refresh_token(current, "me")


async def test_a_first_use_that_was_overtaken_ends_nothing(wearer: Wearer, ports: Ports) -> None:
    """The fresh token is replaced between the moment it was read and the moment it takes over."""
    old = (await wearer.bind())["device_token"]
    fresh = await wearer.refresh(old)
    world, old_hash = wearer.tenant.test_world, ports.hasher.hash(old)
    async with ports.database.transaction() as connection:
        generation = await token_queries.lock(connection, world, wearer.device)
        assert generation == 1
        using = asyncio.create_task(wearer.works(fresh))
        await until_waiting(ports, 1)
        await token_queries.delete_other_tokens(connection, world, wearer.device, old_hash)
        newer = ports.hasher.hash("newer")
        await token_queries.insert_token(
            connection, world, wearer.device, newer, "a-secret", generation, "fresh", ports.clock.now()
        )
    assert await using is False
    assert await wearer.works(await wearer.refresh(old))


async def test_first_use_and_refresh_with_the_old_token_at_once_never_lock_the_device_out(
    wearer: Wearer,
) -> None:
    token = (await wearer.bind())["device_token"]
    for _ in range(10):
        new = await wearer.refresh(token)
        _, repeated = await asyncio.gather(wearer.works(new), wearer.post("token/refresh", bearer(token)))
        candidates = [new]
        if repeated.status_code == 200:  # so the new one came too late, and the old one may still ask
            candidates.append(repeated.json()["device_token"])
        else:
            assert repeated.status_code == 401
        alive = [each for each in candidates if await wearer.works(each)]
        assert len(alive) == 1
        (token,) = alive


async def test_binding_and_unbinding_at_once_leave_one_story(wearer: Wearer, ports: Ports) -> None:
    for _ in range(6):
        answers = await asyncio.gather(
            *(wearer.post("bind", end_user_id=wearer.person) for _ in range(3)),
            *(wearer.post("unbind") for _ in range(3)),
        )
        assert {answer.status_code for answer in answers} <= {200, 409}
        shown = await wearer.client.get(f"/v1/devices/{wearer.device}", headers=wearer.tenant.headers)
        tokens = [answer.json()["device_token"] for answer in answers if "device_token" in answer.json()]
        alive = [token for token in tokens if await wearer.works(token)]
        assert len(alive) == (shown.json()["status"] == "bound")
        async with ports.database.acquire() as connection:
            rows = await connection.fetch(EVENTS, wearer.tenant.test_world, wearer.device)
        generation = shown.json()["binding_generation"]
        types = [row["type"] for row in rows]
        assert types.count("device.bound") == generation
        assert types.count("device.unbound") == generation - len(alive)
        await wearer.post("unbind")


async def test_a_name_of_a_binding_that_an_older_server_ended_ends_with_the_next_one(
    wearer: Wearer, ports: Ports
) -> None:
    path, headers = f"/v1/devices/{wearer.device}", wearer.tenant.headers
    for named_in_binding, expected in ((False, "Desk"), (True, None)):
        if named_in_binding:
            await wearer.bind()
        name = "Jane's pendant" if named_in_binding else "Desk"
        await wearer.client.patch(path, json={"name": name}, headers=headers)
        async with ports.database.acquire() as connection:
            await connection.execute(OLD_UNBIND, wearer.tenant.test_world, wearer.device)
        assert (await wearer.bind())["name"] == expected
        async with ports.database.acquire() as connection:
            await connection.execute(OLD_UNBIND, wearer.tenant.test_world, wearer.device)
