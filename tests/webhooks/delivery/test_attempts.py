"""Single attempts: what counts, and what they are signed with."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence

import msgspec
import pytest
from structlog.testing import capture_logs

from lapel.foundation.identity.seal import Sealer
from lapel.foundation.outbound.lookups import TENANT
from lapel.foundation.outbound.outbound_client import open_client
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.webhooks import signing_secrets
from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow
from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryOutcome
from lapel.slices.webhooks.delivery.posting.attempt_faults import NAME_NOT_CALLED
from lapel.slices.webhooks.delivery.posting.attempts import Attempts
from tests.webhooks.delivery.support import OK, Received, Receiver, World, a_secret, answer

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
            assert [each.error for each in outcome.attempts] == [NAME_NOT_CALLED]
        go.set()


async def test_a_tenant_cannot_tell_private_names_from_missing_ones_and_the_operator_can(
    world: World,
) -> None:
    def lookup(host: str) -> Sequence[str]:
        if host == "vault.internal.example":
            return ["10.1.2.3"]
        raise OSError("no such name")

    async with open_client(
        OutboundPolicy.of(world.ports.settings), total=None, connect=5, lookup=lookup
    ) as client:
        attempts = Attempts(world.ports, client, lambda: 0.0)
        with capture_logs() as lines:
            for host in ("vault.internal.example", "missing.example") * 2:
                outcome = await attempts.make(claim_of(world, f"https://{host}/"), probe=False)
                assert outcome is not None
                assert [each.error for each in outcome.attempts] == [NAME_NOT_CALLED]
    refused, unresolved = lines  # once each
    assert refused["event"] == "webhook.host_refused"
    assert (refused["webhook"], refused["host"]) == ("wh_1", "vault.internal.example")
    assert (refused["address"], "is not public" in refused["error"]) == ("10.1.2.3", True)
    assert unresolved["event"] == "webhook.host_unresolved"
    assert (unresolved["host"], unresolved["error"]) == ("missing.example", "no such name")


async def test_a_secret_that_cannot_be_read_is_logged_once_for_a_webhook(world: World) -> None:
    lost = Sealer((secrets.token_bytes(32),))
    async with open_client(OutboundPolicy.of(world.ports.settings), total=None, connect=5) as client:
        attempts = Attempts(world.ports, client, lambda: 0.0)
        with capture_logs() as lines:
            for webhook_id in ("wh_1", "wh_2", "wh_1"):
                sealed = signing_secrets.sealed(lost, world.id, webhook_id, a_secret())
                claim = msgspec.structs.replace(
                    claim_of(world, "http://127.0.0.1:1/"), webhook_id=webhook_id, sealed_secret=sealed
                )
                outcome = await attempts.make(claim, probe=False)
                assert outcome is not None
                assert [each.error for each in outcome.attempts] == ["the server cannot read the secret"]
    assert [(each["event"], each["webhook"]) for each in lines] == [
        ("webhook.secret_unreadable", "wh_1"),
        ("webhook.secret_unreadable", "wh_2"),
    ]


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


@pytest.mark.parametrize(("size", "connections"), [(0, 1), (4095, 1), (4096, 1), (10**6, 3)])
async def test_an_answer_of_4_kib_keeps_its_connection_and_a_large_one_does_not(
    world: World, receiver: Receiver, size: int, connections: int
) -> None:
    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, body=b"x" * size))

    receiver.respond = respond
    async with open_client(OutboundPolicy.of(world.ports.settings), total=None, connect=5) as client:
        attempts = Attempts(world.ports, client, lambda: 0.0)
        for _ in range(3):
            outcome = await attempts.make(claim_of(world, receiver.url), probe=False)
            assert outcome is not None
            (attempt,) = outcome.attempts
            assert (attempt.answer or b"", attempt.status) == (b"x" * min(size, 4096), 200)
    assert receiver.connections == connections
