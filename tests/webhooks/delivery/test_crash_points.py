"""A worker may die anywhere: each event is delivered, with the same id and the same bytes every time, and the
first attempts for a resource and a webhook are made in the order of its events."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.slices.webhooks.slice import SLICE
from tests.faults.processes import armed, instructions, process
from tests.support.patience import patience
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.tenants import make_tenant
from tests.webhooks.delivery.support import Receiver, World, out_of_order, receiving

POINTS = [point for point in SLICE.crash_points if point.startswith(("fan-out:", "delivery:"))]
WEBHOOKS, EVENTS, RESOURCES = 2, 9, 2


@pytest.mark.deep
@pytest.mark.timeout(240)
async def test_a_worker_that_dies_anywhere_loses_no_event(
    postgres: EmbeddedPostgres, quick_folder: Path
) -> None:
    url = await asyncio.to_thread(create_database, postgres, "delivery_crashes", "template")
    async with (
        running(quick_folder / "data", url, clock=None, LAPEL_OUTBOUND_NETWORKS="127.0.0.0/8") as live,
        receiving() as receiver,
    ):
        world = World(live.ports, (await make_tenant(live.ports)).test_world)
        for number in range(WEBHOOKS):
            await world.webhook(f"{receiver.url}/{number}")
        async with process("worker", live.settings, crash=instructions(quick_folder, POINTS)) as worker:
            for number, point in enumerate(POINTS, 1):
                await dies(world, quick_folder, point)
                await world.settled(number * EVENTS * WEBHOOKS, "succeeded")
            assert worker.crashes == len(POINTS)
        await agree(world, receiver)
    await asyncio.to_thread(drop_database, postgres, "delivery_crashes")


async def dies(world: World, folder: Path, point: str) -> None:
    _, marker = armed(folder, point)
    for number in range(EVENTS):
        await world.publish(f"dev_{number % RESOURCES}")
    async with patience(30):
        while marker.exists():  # noqa: ASYNC110 - another process removes it
            await asyncio.sleep(0.02)


async def agree(world: World, receiver: Receiver) -> None:
    """Both webhooks got all events, with the bytes that are stored; the rows tell each written attempt."""
    events = await world.fetch("SELECT id, body, resource_id FROM events WHERE world_id = $1", world.id)
    stored = {row["id"]: row["body"] for row in events}
    assert len(stored) == len(POINTS) * EVENTS
    assert {(request.event_id, request.body) for request in receiver.received} == set(stored.items())
    assert out_of_order(receiver.received, {row["id"]: row["resource_id"] for row in events}) == []
    deliveries = await world.deliveries()
    assert len(deliveries) == len(stored) * WEBHOOKS
    assert len(receiver.received) > len(deliveries), "nothing was repeated, so nothing died in the middle"
    attempts = await world.attempts()
    for row in deliveries:
        own = sorted(each["number"] for each in attempts if each["delivery_id"] == row["id"])
        assert own == list(range(1, row["attempts"] + 1))
        assert row["leased_until"] is None
