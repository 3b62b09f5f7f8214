"""Operations that find the device that calls themselves, in the statement that does the work."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import httpx
import msgspec
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.errors import ApiError, InvalidRequest, RateLimitExceeded, Unavailable
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import Call, DirectCall, NoQuery
from lapel.foundation.http.operations import Endpoint
from lapel.foundation.http.rate_limits import Unlimited
from lapel.foundation.http.responses import Headers
from lapel.foundation.http.routes import Routes
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports
from tests.support.api import api_of
from tests.support.tenants import Tenant, bearer, make_key


class Body(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=0)] = 0


class Answer(msgspec.Struct):
    way: str


class Exhausted(Unlimited):
    async def take_known(self, token_hash: bytes) -> Headers | None:  # noqa: ARG002 - its shape
        raise RateLimitExceeded("Too many.")


class Found:
    """Knows some hashes."""

    def __init__(self) -> None:
        self.known: dict[bytes, Actor] = {}
        self.refuse: ApiError | None = None
        self.asked = 0

    async def direct(self, call: DirectCall[NoQuery, Body]) -> tuple[Actor, Answer] | None:
        self.asked += 1
        if self.refuse is not None:
            raise self.refuse
        actor = self.known.get(call.token_hash)
        return None if actor is None else (actor, Answer("direct"))

    async def usual(self, call: Call[NoQuery, Body]) -> Answer:
        return Answer(f"usual {call.actor.kind}")


@pytest.fixture
def found() -> Found:
    return Found()


def served(ports: Ports, found: Found, limiter: Unlimited | None = None) -> httpx.AsyncClient:
    access = Access("devices:write", frozenset({"key", "device"}))
    beats = Routes("", read=access, write=access)
    operation = beats.post("/v1/beats", "beat", Answer, Body).direct("", found.direct, found.usual)
    api = api_of(ports, [operation], body_limit=1 << 20, limiter=limiter)
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api")


@pytest.fixture
async def device_token(client: httpx.AsyncClient, tenant: Tenant) -> str:
    device = await client.post("/v1/devices", json={"serial_number": "DIRECT01"}, headers=tenant.headers)
    person = await client.post("/v1/end-users", headers=tenant.headers)
    bound = await client.post(
        f"/v1/devices/{device.json()['id']}/bind",
        json={"end_user_id": person.json()["id"]},
        headers=tenant.headers,
    )
    return bound.json()["device_token"]


async def beat(
    api: httpx.AsyncClient, token: str, body: dict[str, int] | None = None
) -> tuple[int, str | None]:
    answer = await api.post("/v1/beats", json=body or {}, headers=bearer(token))
    return answer.status_code, answer.json().get("way") or answer.json()["error"]["code"]


async def test_a_device_that_is_found_is_not_looked_up_before(ports: Ports, found: Found) -> None:
    token = new_token("dtok")
    found.known[ports.hasher.hash(token)] = Actor(
        kind="device", id="dev_1", world_id=1, project_id="proj_1", mode="test"
    )
    async with served(ports, found) as api:
        assert await beat(api, token) == (200, "direct")


async def test_whoever_is_not_found_is_looked_up_and_goes_the_usual_way(
    ports: Ports, found: Found, device_token: str, tenant: Tenant
) -> None:
    reader = await make_key(ports, tenant.test_world, "rk_test", scopes=("devices:read",))
    async with served(ports, found) as api:
        assert await beat(api, device_token) == (200, "usual device")
        assert await beat(api, tenant.test_key) == (200, "usual key")
        assert await beat(api, reader) == (403, "forbidden")
        assert await beat(api, new_token("dtok")) == (401, "unauthorized")
        assert await beat(api, device_token[:-1]) == (401, "unauthorized")
        assert (await api.post("/v1/beats", json={})).status_code == 401


@pytest.mark.parametrize("body", [{"number": -1}, {"number": 1}])
async def test_a_wrong_token_is_told_before_a_wrong_body(
    ports: Ports, found: Found, device_token: str, body: dict[str, int]
) -> None:
    found.refuse = InvalidRequest("No.", param="number")
    async with served(ports, found) as api:
        assert await beat(api, new_token("dtok"), body) == (401, "unauthorized")
        assert await beat(api, device_token, body) == (400, "invalid_request")


async def test_a_database_that_is_away_is_not_asked_for_the_token_too(ports: Ports, found: Found) -> None:
    """It is away because it has too much to do, perhaps."""
    found.refuse = Unavailable("Away.")
    async with served(ports, found) as api:
        assert await beat(api, new_token("dtok")) == (503, "unavailable")


async def test_a_wrong_token_is_told_before_a_limit(ports: Ports, found: Found, device_token: str) -> None:
    async with served(ports, found, Exhausted()) as api:
        assert await beat(api, new_token("dtok"), {"number": -1}) == (401, "unauthorized")
        assert await beat(api, device_token, {"number": -1}) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize("declared", [{"Content-Length": "100000"}, {}], ids=["large", "chunked"])
async def test_a_body_that_may_be_large_is_not_read_for_nobody(
    ports: Ports, found: Found, declared: dict[str, str]
) -> None:
    read: list[int] = []

    async def content() -> AsyncGenerator[bytes]:
        for number in range(100):
            read.append(number)
            yield b" " * 1000

    async with served(ports, found) as api:
        headers = {**bearer(new_token("dtok")), **declared}
        answer = await api.post("/v1/beats", content=content(), headers=headers)
    assert (answer.status_code, read) == (401, [])


async def test_a_large_body_of_a_known_device_is_taken(ports: Ports, found: Found, device_token: str) -> None:
    body = b'{"number": 1}' + b" " * 100_000
    async with served(ports, found) as api:
        answer = await api.post("/v1/beats", content=body, headers=bearer(device_token))
    assert (answer.status_code, answer.json()) == (200, {"way": "usual device"})


class Generous(Unlimited):
    """Knows every device, or none before it was found."""

    def __init__(self, *, knows: bool) -> None:
        self._knows = knows
        self.taken = 0

    async def take(self, actor: Actor, operation: Endpoint) -> Headers:  # noqa: ARG002 - its shape
        self.taken += 1
        return ((b"x-ratelimit-limit", b"60"),)

    async def take_known(self, token_hash: bytes) -> Headers | None:  # noqa: ARG002 - its shape
        return ((b"x-ratelimit-limit", b"60"),) if self._knows else None


@pytest.mark.parametrize("knows", [True, False])
async def test_who_has_no_good_token_hears_nothing_of_limits(
    ports: Ports, found: Found, device_token: str, knows: bool
) -> None:
    async with served(ports, found, Generous(knows=knows)) as api:
        for body in ({}, {"number": -1}):
            for token, limited in ((device_token, True), (new_token("dtok"), False)):
                answer = await api.post("/v1/beats", json=body, headers=bearer(token))
                assert ("x-ratelimit-limit" in answer.headers) is limited


@pytest.mark.parametrize("knows", [True, False])
async def test_a_device_is_counted_once_whether_it_is_known_before_or_not(
    ports: Ports, found: Found, device_token: str, knows: bool
) -> None:
    limiter = Generous(knows=knows)
    direct = new_token("dtok")
    found.known[ports.hasher.hash(direct)] = Actor(
        kind="device", id="dev_1", world_id=1, project_id="proj_1", mode="test"
    )
    async with served(ports, found, limiter) as api:
        for body in ({}, {"number": -1}):
            for token in (direct, device_token):
                limiter.taken = 0
                await beat(api, token, body)
                unknown = token == direct and body  # refused before it was found: it is nobody's token
                assert limiter.taken == (0 if knows or unknown else 1)


async def test_an_address_of_many_bad_tokens_has_them_looked_up_first(
    ports: Ports, found: Found, device_token: str
) -> None:
    """The operation's statement does not run for a stranger any more; a good token passes as ever."""
    async with served(ports, found) as api:
        for _ in range(150):
            assert await beat(api, new_token("dtok")) == (401, "unauthorized")
        looked_up_later = found.asked
        assert 10 < looked_up_later < 150
        assert await beat(api, new_token("dtok"), {"number": -1}) == (401, "unauthorized")
        assert await beat(api, device_token) == (200, "usual device")
        assert found.asked == looked_up_later


async def test_the_headers_are_checked_on_this_way_too(ports: Ports, found: Found, device_token: str) -> None:
    async with served(ports, found) as api:
        for name, value, status in (
            ("Idempotency-Key", "not one!", 400),
            ("Bota-Version", "today", 400),
            ("Content-Type", "text/plain", 415),
        ):
            headers = {"Content-Type": "application/json", **bearer(device_token), name: value}
            answer = await api.post("/v1/beats", content=b"{}", headers=headers)
            assert answer.status_code == status, name
