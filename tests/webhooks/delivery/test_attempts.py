"""Single attempts: what counts, and what they are signed with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from lapel.foundation.outbound.lookups import TENANT
from lapel.foundation.outbound.outbound_client import open_client
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.webhooks import signing_secrets
from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow
from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryOutcome
from lapel.slices.webhooks.delivery.posting.attempts import Attempts
from tests.webhooks.delivery.support import OK, Received, Receiver, World, a_secret

THREADS_OF_A_WORLD = 8


def claim_of(world: World, url: str) -> ClaimedRow:
    """A claimed delivery of a small event, as the database gives it."""
    sealed = signing_secrets.sealed(world.ports.sealer, world.id, "wh_1", a_secret())
    return ClaimedRow(world.id, "whd_1", "wh_1", "evt_1", 1, 0, 0, url, sealed, None, 0.0, b"{}")


async def test_a_name_that_could_not_be_looked_up_is_no_failure_of_the_webhook(world: World) -> None:
    """Eight names of the world hang, and take all its threads."""
    go, asked = threading.Event(), threading.Semaphore(0)

    def hang(_: str) -> Sequence[str]:
        asked.release()
        go.wait(60)
        raise OSError("no answer")

    async with open_client(
        OutboundPolicy.of(world.ports.settings), total=None, connect=5, lookup_seconds=1, lookup=hang
    ) as client:
        attempts = Attempts(world.ports, client, lambda: 0.0)

        async def made(host: str) -> DeliveryOutcome | None:
            TENANT.set(world.id)
            return await attempts.make(claim_of(world, f"https://{host}/"), probe=False)

        hanging = [asyncio.create_task(made(f"{number}.example")) for number in range(THREADS_OF_A_WORLD)]
        for _ in hanging:
            await asyncio.to_thread(asked.acquire)
        assert await asyncio.create_task(made("good.example")) is None
        for outcome in await asyncio.gather(*hanging):
            assert outcome is not None
            assert [each.error for each in outcome.attempts] == ["the name of the host cannot be resolved"]
        go.set()


async def test_a_kept_connection_that_the_receiver_closes_is_no_failure(
    world: World, receiver: Receiver
) -> None:
    """The receiver answers one request of each connection, and closes it when the next one comes."""
    served: set[asyncio.StreamWriter] = set()

    async def once(_: Received, writer: asyncio.StreamWriter) -> None:
        if writer in served:
            writer.close()
        else:
            served.add(writer)
            writer.write(OK)

    receiver.respond = once
    async with open_client(OutboundPolicy.of(world.ports.settings), total=None, connect=5) as client:
        attempts = Attempts(world.ports, client, lambda: 0.0)
        for _ in range(3):
            outcome = await attempts.make(claim_of(world, receiver.url), probe=False)
            assert outcome is not None
            assert [(each.status, each.error) for each in outcome.attempts] == [(200, None)]
    assert (receiver.connections, len(receiver.received)) == (3, 5)


async def test_a_fresh_connection_that_the_receiver_closes_is_a_failure(
    world: World, receiver: Receiver
) -> None:
    async def never(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    receiver.respond = never
    async with open_client(OutboundPolicy.of(world.ports.settings), total=None, connect=5) as client:
        outcome = await Attempts(world.ports, client, lambda: 0.0).make(
            claim_of(world, receiver.url), probe=False
        )
    assert outcome is not None
    assert [each.error for each in outcome.attempts] == ["the connection was closed without an answer"]
    assert len(receiver.received) == 1
