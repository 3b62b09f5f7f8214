"""Receivers that hang leave places to others."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.webhooks.delivery.posting.attempt_faults import NAME_NOT_CALLED
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import OK, Received, Receiver, World, receiving, until, world_of

pytestmark = pytest.mark.usefixtures("engine")
# Large events of one world that are sent at once.
OF_ONE_WORLD = 8
# Names that hang, and how many of one world are looked up at once.
NAMES, THREADS_OF_A_WORLD = 40, 8


async def test_slow_receivers_of_large_events_leave_places_to_other_worlds(
    ports: Ports, world: World, stranger: Tenant, receiver: Receiver
) -> None:
    released = asyncio.Event()

    async def hold(_: Received, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.write(OK)

    large = json.dumps({"text": "x" * 100_000}).encode()
    async with receiving(hold) as slow:
        for _ in range(3):
            await world.webhook(slow.url)
        for _ in range(4):
            await world.publish(data=large)
        await until(lambda: len(slow.received) == OF_ONE_WORLD)
        other = world_of(ports, stranger)
        await other.webhook(receiver.url)
        await other.publish(data=large)
        await other.settled(1, "succeeded")
        assert len(slow.received) == OF_ONE_WORLD
        released.set()
        await world.settled(12, "succeeded")
    await other.execute("DELETE FROM webhooks WHERE world_id = $1", other.id)
    await other.execute("DELETE FROM events WHERE world_id = $1", other.id)


async def test_names_that_hang_hold_up_no_other_webhook(
    ports: Ports, world: World, stranger: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, ask = threading.Event(), socket.getaddrinfo
    asked: set[str] = set()

    def ask_or_hang(host: str, *arguments: Any, **named: Any) -> Any:
        if not host.endswith(".hanging.example"):
            return ask(host, *arguments, **named)
        asked.add(host)
        go.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", ask_or_hang)
    other = world_of(ports, stranger)
    try:
        for number in range(NAMES):
            await world.webhook(f"https://{number}.hanging.example/")
        await world.webhook(receiver.url)
        await other.webhook(receiver.url)
        await world.publish()
        await until(lambda: len(asked) == THREADS_OF_A_WORLD)
        await world.publish()
        await other.publish()
        await world.settled(2, "succeeded")
        await other.settled(1, "succeeded")
    finally:
        go.set()
    await world.attempted(2 + NAMES)
    failed = [row["error"] for row in await world.attempts() if row["status"] is None]
    assert set(failed) == {NAME_NOT_CALLED}
    await other.execute("DELETE FROM webhooks WHERE world_id = $1", other.id)
    await other.execute("DELETE FROM events WHERE world_id = $1", other.id)
