"""Receivers that fail, are slow, or are gone."""

from __future__ import annotations

import asyncio
import secrets
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.foundation.identity.seal import Sealer
from lapel.slices.webhooks.delivery.posting import attempts
from lapel.slices.webhooks.delivery.posting.attempt_faults import NAME_NOT_CALLED
from lapel.slices.webhooks.signing_secrets import sealed
from tests.support.receivers import certificate_for
from tests.support.receivers import receiving as receiving_tls
from tests.support.strict.events import check_event
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import (
    OK,
    Received,
    Receiver,
    World,
    a_secret,
    answer,
    receiving,
    until,
)

pytestmark = pytest.mark.usefixtures("engine")


async def test_a_failed_delivery_is_attempted_eight_times(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    receiver.script(*[answer(500, body=b"no")] * 9)
    await world.publish()
    waits: list[float] = []
    for number in range(1, 8):
        await world.attempted(number)
        (delivery,) = await world.deliveries()
        assert (delivery["state"], delivery["tries"]) == ("pending", number)
        waits.append(delivery["wait"])
        await world.all_due()
    (delivery,) = await world.settled(1, "failed")
    assert (delivery["state"], delivery["due_at"]) == ("failed", None)
    for wait, least in zip(waits, (60, 300, 1800, 7200, 28800, 36000, 36000), strict=True):
        assert least - 5 <= wait <= least * 1.1
    requests = receiver.received
    assert len({(request.event_id, request.body) for request in requests}) == 1
    assert [row["number"] for row in await world.attempts()] == list(range(1, 9))
    assert {(row["status"], row["answer"]) for row in await world.attempts()} == {(500, b"no")}


async def test_retry_after_is_waited_for(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    receiver.script(answer(429, "Retry-After: 3600"))
    await world.publish()
    await world.attempted(1)
    (delivery,) = await world.deliveries()
    assert 3590 <= delivery["wait"] <= 3600


@pytest.mark.parametrize("status", [429, 503])
async def test_a_receiver_that_asks_for_a_pause_gets_no_other_event_either(
    world: World, receiver: Receiver, status: int
) -> None:
    webhook = await world.webhook(receiver.url)
    await world.webhook(receiver.url + "/other", "device.unbound")
    receiver.script(answer(status, "Retry-After: 3600"))
    await world.publish()
    await world.attempted(1)
    assert 3580 <= (await world.state(webhook))["pause"] <= 3600
    for _ in range(7):
        await world.publish()
    await world.publish(type="device.unbound")
    await world.settled(1, "succeeded")
    assert [request.line.split()[1] for request in receiver.received] == ["/hook", "/hook/other"]
    await world.all_due()
    await world.settled(10, "succeeded")
    assert (await world.state(webhook))["paused_until"] is None


async def test_410_disables_the_webhook_and_tells_the_others(world: World, receiver: Receiver) -> None:
    gone = await world.webhook(receiver.url + "/gone", "device.bound")
    other = await world.webhook(receiver.url, "webhook.disabled")

    async def respond(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(410) if "/gone" in request.line else OK)

    receiver.respond = respond
    await world.publish()
    await until(lambda: len(receiver.received) == 2)
    (state,) = [await world.state(gone)]
    assert (state["status"], state["disabled_reason"]) == ("disabled", "gone")
    told = receiver.received[-1]
    check_event(told.body)
    data = told.data()
    assert data["id"] == data["webhook"]["id"] == gone.id
    assert (data["status"], data["disabled_reason"]) == ("disabled", "gone")
    assert "secret" not in str(data)
    assert told.bota_signed_by(other.secret)
    (entry,) = await world.fetch(
        "SELECT actor_kind, resource_id FROM audit_log WHERE world_id = $1 AND action = 'webhook.disabled'",
        world.id,
    )
    assert entry == {"actor_kind": "system", "resource_id": gone.id}
    await world.publish()
    await world.publish(type="webhook.disabled")
    await until(lambda: len(receiver.received) == 3)
    assert len([each for each in receiver.received if "/gone" in each.line]) == 1


async def test_five_days_of_failures_disable_a_webhook(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    receiver.script(*[answer(503)] * 3)
    for days, status in ((4, "enabled"), (5, "disabled")):
        await world.execute(
            "UPDATE webhooks SET failures = 1, failing_since = now() - make_interval(days => $2)"
            " WHERE world_id = $1",
            world.id,
            days,
        )
        await world.publish()
        await world.attempted(days - 3)
        assert (await world.state(webhook))["status"] == status
    assert (await world.state(webhook))["disabled_reason"] == "failing"


async def test_a_success_forgets_the_failures(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    receiver.script(answer(500), answer(500))
    for number in (1, 2):
        await world.publish()
        await world.attempted(number)
    assert (await world.state(webhook))["failures"] == 2
    await world.publish()
    await world.attempted(3)
    state = await world.state(webhook)
    assert (state["failures"], state["failing_since"]) == (0, None)


async def test_an_open_circuit_lets_one_probe_through(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    receiver.script(*[answer(500)] * 11)
    for number in range(1, 11):
        await world.publish()
        await world.attempted(number)
    state = await world.state(webhook)
    assert (state["failures"], 0 < state["pause"] <= 5) == (10, True)
    await world.execute(
        "UPDATE webhooks SET paused_until = now() + interval '1 hour' WHERE world_id = $1", world.id
    )
    for _ in range(20):
        await world.publish()
    await asyncio.sleep(0.3)
    assert len(receiver.received) == 10
    # The probe fails: the pause is longer, and nothing else is sent.
    await world.all_due()
    await world.attempted(11)
    state = await world.state(webhook)
    assert (state["failures"], 5 < state["pause"] <= 10) == (11, True)
    assert len(receiver.received) == 11
    # The next one succeeds, and all others follow.
    await world.all_due()
    await world.settled(30, "succeeded")
    state = await world.state(webhook)
    assert (state["failures"], state["paused_until"]) == (0, None)


async def test_401_is_repeated_at_once_with_the_previous_secret(world: World, receiver: Receiver) -> None:
    previous = a_secret()
    webhook = await world.webhook(receiver.url, previous=previous)

    async def respond(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if request.bota_signed_by(previous) else answer(401))

    receiver.respond = respond
    await world.publish()
    (delivery,) = await world.settled(1)
    first, second = receiver.received
    assert first.bota_signed_by(webhook.secret)
    assert second.bota_signed_by(previous)
    for request in (first, second):
        assert len(request["webhook-signature"].split()) == 2
    assert (delivery["state"], delivery["attempts"], delivery["tries"]) == ("succeeded", 2, 1)
    assert [(row["number"], row["status"]) for row in await world.attempts()] == [(1, 401), (2, 200)]


async def test_401_without_a_rotation_is_not_repeated(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    receiver.script(answer(401))
    await world.publish()
    await world.attempted(1)
    assert len(receiver.received) == 1


async def test_a_rotation_helps_a_webhook_whose_secret_the_server_cannot_read(
    world: World, receiver: Receiver, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """As after a change of LAPEL_SECRET whose former value is lost."""
    webhook = await world.webhook(receiver.url)
    lost = sealed(Sealer((secrets.token_bytes(32),)), world.id, webhook.id, webhook.secret)
    await world.execute(
        "UPDATE webhooks SET sealed_secret = $3 WHERE world_id = $1 AND id = $2", world.id, webhook.id, lost
    )
    await world.publish()
    await world.attempted(1)
    rotated = await client.post(f"/v1/webhooks/{webhook.id}/rotate-secret", headers=tenant.headers)
    await world.all_due()
    await world.settled(1, "succeeded")
    (request,) = receiver.received
    assert request.bota_signed_by(rotated.json()["secret"])
    assert len(request["webhook-signature"].split()) == 1
    told = [(row["status"], row["error"]) for row in await world.attempts()]
    assert told == [(None, "the server cannot read the secret"), (200, None)]


async def test_a_redirect_is_a_failure(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    receiver.script(answer(302, "Location: http://169.254.169.254/latest/meta-data/"))
    await world.publish()
    (attempt,) = await world.attempted(1)
    assert attempt["status"] == 302
    assert (await world.deliveries())[0]["state"] == "pending"


async def test_only_the_beginning_of_a_large_answer_is_read(world: World, receiver: Receiver) -> None:
    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        for __ in range(100):
            writer.write(b"x" * 100_000)
            await writer.drain()

    receiver.respond = respond
    await world.webhook(receiver.url)
    await world.publish()
    await world.publish()
    await world.settled(2, "succeeded")
    assert {row["answer"] for row in await world.attempts()} == {b"x" * 4096}
    assert receiver.connections == 2


async def test_the_status_line_decides_however_slowly_the_body_comes(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_BODY_SECONDS", 0.2)

    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    receiver.respond = respond
    await world.webhook(receiver.url)
    await world.publish()
    (delivery,) = await world.settled(1)
    (attempt,) = await world.attempts()
    assert (delivery["state"], attempt["error"]) == ("succeeded", None)
    assert 0 < len(attempt["answer"]) < 1000


async def test_faults_are_told_in_a_sentence(
    world: World, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SECONDS", 3)

    async def slowly(_: Received, writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n":
            writer.write(bytes((letter,)))
            await writer.drain()
            await asyncio.sleep(0.4)

    async def closing(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def nonsense(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SMTP ready\r\n\r\n")

    async def never_ready(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)

    ask = socket.getaddrinfo

    names = {"inside.example": "127.0.0.1", "private.example": "10.1.2.3", "public.example": "1.1.1.1"}
    names["named.example"] = "8.8.8.8"

    def known(host: str, *arguments: Any, **named: Any) -> Any:
        if host == "no-such-name.invalid":  # a name server may take its time to say so
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask(names.get(host, host), *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    tls, _ = certificate_for("receiver.example", tmp_path)
    async with (
        receiving(slowly) as slow,
        receiving(closing) as rude,
        receiving(nonsense) as other,
        receiving(never_ready) as busy,
        receiving_tls(tls=tls) as unknown,
    ):
        urls = {
            slow.url: "timeout after 30 s",
            rude.url: "the connection was closed without an answer",
            other.url: "the answer is not valid HTTP",
            busy.url: "more than 20 interim answers (1xx) came before the answer",
            f"https://127.0.0.1:{unknown.port}/": "TLS: self-signed certificate",
            "http://127.0.0.1:1/": "no connection: Connection refused",
            "http://inside.example:1/": "no connection: Connection refused",
            "https://8.8.8.8:22/": "refused: 8.8.8.8 is called at port 22, where services listen that do not "
            "speak HTTP. Use another port, such as 443.",
            "https://named.example:22/": NAME_NOT_CALLED,
            "http://10.0.0.1/": "refused: 10.0.0.1 is not public (private, RFC 1918). "
            "The operator may name its network in LAPEL_OUTBOUND_NETWORKS.",
            "http://no-such-name.invalid/": NAME_NOT_CALLED,
            # As if there were no such name, so that nobody learns which names the operator's network has.
            "https://private.example/": NAME_NOT_CALLED,
            "http://public.example/": NAME_NOT_CALLED,
        }
        webhooks = {(await world.webhook(url)).id: error for url, error in urls.items()}
        await world.publish()
        await world.attempted(len(urls))
    rows = await world.fetch(
        "SELECT d.webhook_id, a.error, a.status FROM webhook_attempts a JOIN webhook_deliveries d"
        " ON d.world_id = a.world_id AND d.id = a.delivery_id WHERE a.world_id = $1",
        world.id,
    )
    found = {row["webhook_id"]: row["error"] for row in rows}
    assert all(row["status"] is None for row in rows)
    for webhook, error in webhooks.items():
        assert found[webhook] == error


async def test_a_body_of_a_mebibyte_is_delivered(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    data = b'{"text":"%b"}' % (b"y" * (2**20 - 2000))
    for _ in range(6):
        await world.publish(data=data)
    await world.settled(6, "succeeded")
    assert {len(request.body) > 2**20 - 2000 for request in receiver.received} == {True}
    rows = await world.fetch("SELECT body FROM events WHERE world_id = $1", world.id)
    assert {row["body"] for row in rows} == {request.body for request in receiver.received}
