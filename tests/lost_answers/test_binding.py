"""Registering, binding, unbinding, and replacing the token: whatever is lost, once is what happens."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest

from tests.lost_answers.fleet import Bound, Fleet
from tests.lost_answers.losing import Call, Losing
from tests.support.tenants import bearer

pytestmark = pytest.mark.deep


@dataclass(slots=True)
class ToBind:
    """A device, and who is to wear it."""

    device_id: str
    end_user_id: str


async def test_a_device_is_registered_once(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> str:
        return fleet.name()

    def call(serial: str) -> Call:
        return Call("POST", "/v1/devices", fleet.tenant.headers, {"serial_number": serial})

    async def check(serial: str, answer: httpx.Response) -> None:
        assert answer.status_code in (200, 201), answer.text
        assert answer.json()["serial_number"] == serial
        assert await fleet.number("devices", serial_number=serial) == 1

    await lossy.everywhere(make, call, check)


async def test_a_device_is_bound_once_and_its_token_works(lossy: Losing, fleet: Fleet) -> None:
    async def make() -> ToBind:
        return ToBind(await fleet.unbound(), await fleet.end_user())

    def call(to_bind: ToBind) -> Call:
        headers = {**fleet.tenant.headers, "Idempotency-Key": f"bind-{to_bind.device_id}"}
        path = f"/v1/devices/{to_bind.device_id}/bind"
        return Call("POST", path, headers, {"end_user_id": to_bind.end_user_id})

    async def check(to_bind: ToBind, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        bound = answer.json()
        assert (bound["end_user_id"], bound["binding_generation"]) == (to_bind.end_user_id, 1)
        await fleet.works(bound["device_token"], to_bind.device_id)
        assert await fleet.events(to_bind.device_id, "device.bound") == 1

    await lossy.everywhere(make, call, check)


async def test_without_a_key_unbinding_and_binding_again_brings_a_token(lossy: Losing, fleet: Fleet) -> None:
    """Who sent no Idempotency-Key may find the device bound by the call that was lost."""

    async def make() -> ToBind:
        return ToBind(await fleet.unbound(), await fleet.end_user())

    def call(to_bind: ToBind) -> Call:
        path = f"/v1/devices/{to_bind.device_id}/bind"
        return Call("POST", path, fleet.tenant.headers, {"end_user_id": to_bind.end_user_id})

    tokens: dict[str, str] = {}

    async def check(to_bind: ToBind, answer: httpx.Response) -> None:
        if to_bind.device_id not in tokens:
            if answer.status_code == 409:
                assert answer.json()["error"]["code"] == "device_already_bound"
                path = f"/v1/devices/{to_bind.device_id}"
                await fleet.call("POST", f"{path}/unbind", fleet.tenant.headers)
                again = await lossy.send(call(to_bind))
                assert again.json()["binding_generation"] == 2
                answer = again
            assert answer.status_code == 200, answer.text
            tokens[to_bind.device_id] = answer.json()["device_token"]
        await fleet.works(tokens[to_bind.device_id], to_bind.device_id)

    await lossy.everywhere(make, call, check)


async def test_a_device_is_unbound_once(lossy: Losing, fleet: Fleet) -> None:
    def call(device: Bound) -> Call:
        return Call("POST", f"/v1/devices/{device.id}/unbind", fleet.tenant.headers)

    async def check(device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "unbound"
        assert await fleet.events(device.id, "device.unbound") == 1
        assert await fleet.number("device_tokens", device_id=device.id) == 0

    await lossy.everywhere(fleet.bound, call, check)


async def test_a_lost_refresh_never_locks_a_device_out(lossy: Losing, fleet: Fleet) -> None:
    def call(device: Bound) -> Call:
        return Call("POST", "/v1/devices/me/token/refresh", bearer(device.token))

    fresh: dict[str, str] = {}

    async def check(device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        token = fresh.setdefault(device.id, answer.json()["device_token"])
        await fleet.works(token, device.id)
        for path in ("/v1/devices/me/token/refresh", "/v1/recordings"):
            await fleet.call("POST", path, bearer(device.token), {}, 401)  # its successor is in use

    await lossy.everywhere(fleet.bound, call, check)


async def test_any_number_of_refreshes_may_be_lost(lossy: Losing, fleet: Fleet) -> None:
    """Each lost one leaves the old token good for asking again, and nothing else."""
    device = await fleet.bound()
    refresh = Call("POST", "/v1/devices/me/token/refresh", bearer(device.token))

    async def make() -> Bound:
        return device

    async def check(_device: Bound, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        await fleet.call("POST", "/v1/recordings", bearer(device.token), {}, 401)
        assert await fleet.number("device_tokens", device_id=device.id) == 2

    await lossy.everywhere(make, lambda _: refresh, check)
    last = await lossy.send(refresh)
    await fleet.works(last.json()["device_token"], device.id)
