"""From the registration to the receiver: what the API makes and repeats arrives, and others verify it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import standardwebhooks

from tests.support.strict.events import check_event
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import Received, Receiver, World, until

pytestmark = pytest.mark.usefixtures("engine")


def verified(received: Received, secret: str) -> bytes:
    """The body, verified by the contract's rule and by two libraries of others."""
    import svix  # noqa: PLC0415  # slow, and every test process imports this module

    assert received.bota_signed_by(secret)
    headers = {name.lower(): value for name, value in received.headers}
    standardwebhooks.Webhook(secret).verify(received.body, headers)
    svix.Webhook(secret).verify(received.body, headers)
    return received.body


async def test_a_registered_webhook_gets_events_repeats_and_tests(
    client: httpx.AsyncClient, tenant: Tenant, world: World, receiver: Receiver
) -> None:
    async def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await client.request(method, f"/v1/webhooks{path}", json=body, headers=tenant.headers)
        assert answer.is_success, answer.text
        return answer.json()

    made = await call("POST", "", {"url": "https://example.com", "events": ["device.bound"]})
    # The shared server does not let a webhook name an address that is not public.
    await world.execute("UPDATE webhooks SET url = $2 WHERE id = $1", made["id"], receiver.url)
    one = f"/{made['id']}"
    event = await world.publish()
    await world.settled(1, "succeeded")
    first = verified(receiver.received[0], made["secret"])
    assert json.loads(first)["id"] == event

    (listed,) = (await call("GET", f"{one}/deliveries"))["data"]
    assert (listed["event_id"], listed["status"], listed["response_status"]) == (event, "succeeded", 200)
    delivery = f"{one}/deliveries/{listed['id']}"
    (attempt,) = (await call("GET", delivery))["attempts"]
    assert (attempt["number"], attempt["response_body"]) == (1, "ok")

    assert (await call("POST", f"{delivery}/redeliver"))["status"] == "pending"
    await until(lambda: len(receiver.received) == 2)
    assert verified(receiver.received[1], made["secret"]) == first

    # A type that the webhook has not subscribed to.
    sent = await call("POST", f"{one}/test", {"type": "transcription.completed"})
    await until(lambda: len(receiver.received) == 3)
    body = verified(receiver.received[2], made["secret"])
    assert json.loads(body) == sent
    check_event(body)

    rotated = await call("POST", f"{one}/rotate-secret")
    await world.publish()
    await until(lambda: len(receiver.received) == 4)
    verified(receiver.received[3], rotated["secret"])
    headers = {name.lower(): value for name, value in receiver.received[3].headers}
    standardwebhooks.Webhook(made["secret"]).verify(receiver.received[3].body, headers)
