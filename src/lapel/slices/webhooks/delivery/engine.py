"""The engine: places events, claims due deliveries, attempts them and writes the outcomes.

Each part is a loop of its own. A notification wakes the loops. They also look once a second, because
notifications may be lost. What a killed worker leaves is taken over when its leases end, after seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database import outbox
from lapel.foundation.database.listening import listen
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES
from lapel.foundation.outbound.lookups import TENANT
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.foundation.shared_attempt import SharedAttempt
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.delivery.claiming import Claims
from lapel.slices.webhooks.delivery.delivery_metrics import IN_FLIGHT
from lapel.slices.webhooks.delivery.fan_out import FanOut
from lapel.slices.webhooks.delivery.settling.outcomes import OutcomeWriter
from lapel.slices.webhooks.delivery.start_queue import StartQueue
from lapel.slices.webhooks.delivery.webhook_places import WebhookPlaces
from lapel.slices.webhooks.payloads import WebhookJob
from lapel.slices.webhooks.records.erased_events import ErasedEvents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow
    from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryOutcome
    from lapel.slices.webhooks.delivery.posting.attempts import Attempts
    from lapel.slices.webhooks.records.endings import Endings

_POLL = 1.0
# Events that come within this time are placed together.
_GATHER = 0.01
# The shortest time between two looks for due deliveries. A look at many webhooks takes longer; then the next
# one waits as long as the look took, and claims more at once.
_BETWEEN_LOOKS = 0.005
_LONGEST_BETWEEN_LOOKS = 0.2
# While so many outcomes are not written, no deliveries are claimed.
_MOST_KEPT = 2000
_RENEW = 3.0
_CONNECT = 10.0
_AGAIN = 0.5
# Seconds that running attempts get when the worker stops. The worker's process has three.
_LAST_SECONDS = 2.0
_LAST_WRITE = 0.7
# The connection of an unread answer is read no further than about twice this.
_BUFFER_BYTES = 8 * 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DeliveryEngine:
    """The part of a worker that delivers events to webhooks."""

    def __init__(self, ports: Ports, endings: Endings) -> None:
        self._ports = ports
        self._endings = endings
        self._places = WebhookPlaces()
        self._fan_out = FanOut(ports)
        self._claims = Claims(ports, self._places)
        self._outcomes = OutcomeWriter(ports, self._ended, random.random)
        # The deliveries that this worker holds, until their outcomes are written; renewed together.
        self._held: set[tuple[int, str]] = set()
        self._starts = StartQueue()
        self._attempting: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._disabled: set[tuple[int, str]] = set()
        self._erased_events = ErasedEvents(ports)
        self._erased = asyncio.Event()
        self._new_events = asyncio.Event()
        self._look_again = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._attempts = SharedAttempt(self._open_attempts, "webhooks-http")

    async def start(self) -> None:
        """Begin to deliver."""
        dsn = self._ports.settings.listen_database_url or self._ports.database.dsn
        self._loops = [
            asyncio.create_task(each, name=f"webhooks-{name}")
            for name, each in {
                "listen": listen(dsn, outbox.EVENTS_CHANNEL, self._told),
                "fan-out": self._repeat(self._place),
                "claims": self._repeat(self._claim),
                "outcomes": self._repeat(self._outcomes.step),
                "leases": self._repeat(self._renew),
                "disabled": self._repeat(self._end_disabled),
                "erased": self._repeat(self._remove_erased),
            }.items()
        ]

    async def stop(self) -> None:
        """Let running attempts end for two seconds, and leave the others to other workers at once."""
        self._stopping = True
        self._wake()
        if self._attempting:
            await asyncio.wait(self._attempting.values(), timeout=_LAST_SECONDS)
        everything = [*self._loops, *self._attempting.values()]
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
        self._starts.start_all()
        with contextlib.suppress(TimeoutError, Unavailable, asyncpg.PostgresError, *DATABASE_AWAY):
            async with asyncio.timeout(_LAST_WRITE):
                await self._outcomes.drain()
                async with self._ports.database.acquire() as connection:
                    if self._held:
                        await claim_queries.release(connection, list(self._held))
                    await self._claims.probes.end_pauses(connection)
        attempts = await self._attempts.forget()
        if attempts is not None:
            await attempts.close()

    def _told(self, payload: str) -> None:
        if payload == outbox.ERASED:
            self._erased.set()
        self._wake()

    def _wake(self) -> None:
        self._new_events.set()
        self._look_again.set()

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take the step again and again. A fault ends no loop."""
        while True:
            try:
                await step()
            except (Unavailable, asyncpg.PostgresError, *DATABASE_AWAY) as error:
                OUTAGES.tell(_log, "webhooks.database_away", error)
                await asyncio.sleep(_AGAIN)
            except Exception:  # noqa: BLE001 - one fault must not end the deliveries of all
                _log.exception("webhooks.failed")
                await asyncio.sleep(_AGAIN)

    async def _place(self) -> None:
        """Place the events that wait, once some may."""
        await _set_or_late(self._new_events)
        await asyncio.sleep(_GATHER)
        while not self._stopping and await self._fan_out.place_some():
            self._look_again.set()

    async def _claim(self) -> None:
        """Begin attempts of the deliveries that are due, once some may be."""
        await _set_or_late(self._look_again)
        while not self._stopping and self._outcomes.kept < _MOST_KEPT:
            began = time.monotonic()
            found = await self._claims.look()
            took = time.monotonic() - began
            self._disabled.update(found.disabled)
            for claim in found.claimed:
                self._begin(claim, probe=(claim.world_id, claim.webhook_id) in found.probes)
            if found.full:
                # Claim the next ones while those that wait begin, so that the worker never waits for claims.
                await asyncio.sleep(_BETWEEN_LOOKS)
                await self._starts.quarter_started()
            else:
                await asyncio.sleep(min(max(took, _BETWEEN_LOOKS), _LONGEST_BETWEEN_LOOKS))
            if not found.more:
                return

    async def _open_attempts(self) -> Attempts:
        """Only a worker that delivers loads the HTTP client: 9 MB, in a thread."""
        await asyncio.to_thread(import_module, "lapel.foundation.outbound.outbound_client")
        from lapel.foundation.outbound.outbound_client import open_client  # noqa: PLC0415
        from lapel.slices.webhooks.delivery.posting.attempts import Attempts  # noqa: PLC0415

        client = open_client(
            OutboundPolicy.of(self._ports.settings),
            total=None,
            connect=_CONNECT,
            limit=0,
            buffer_bytes=_BUFFER_BYTES,
        )
        return Attempts(self._ports, client, random.random)

    def _begin(self, claim: ClaimedRow, *, probe: bool) -> None:
        key = claim.world_id, claim.id
        if key in self._held:  # its lease had ended while the database was away
            return
        self._held.add(key)
        self._places.take((claim.world_id, claim.webhook_id))
        self._starts.put(claim.world_id, partial(self._start, claim, probe=probe))

    def _start(self, claim: ClaimedRow, *, probe: bool) -> None:
        """Begin an attempt, unless the worker stops: then its lease ends, and the pause of a probe."""
        if self._stopping:
            if probe:
                self._claims.probes.lost(claim.world_id, claim.webhook_id)
            return
        key = claim.world_id, claim.id
        self._attempting[key] = asyncio.create_task(self._attempt(claim, probe=probe))

    async def _attempt(self, claim: ClaimedRow, *, probe: bool) -> None:
        key = claim.world_id, claim.id
        TENANT.set(claim.world_id)
        outcome = None
        try:
            attempts = await self._attempts.get()
            outcome = await attempts.make(claim, probe=probe)
        except Unavailable:
            pass  # the lease ends by itself
        except Exception:  # noqa: BLE001 - the lease ends by itself, and the next attempt may succeed
            _log.exception("webhooks.attempt_failed", delivery=claim.id)
        finally:
            del self._attempting[key]
            if probe and outcome is None:
                self._claims.probes.lost(claim.world_id, claim.webhook_id)
            elif probe:
                self._claims.probes.decided(claim.world_id, claim.webhook_id)
        if outcome is not None:
            crash_point("delivery:attempted")
            self._outcomes.put(outcome)
        else:
            self._held.discard(key)
        if outcome is None or _frees_its_place(outcome):
            self._places.give_back((claim.world_id, claim.webhook_id))
            self._look_again.set()

    def _ended(self, outcome: DeliveryOutcome) -> None:
        """The outcome is written: its place is free, and a later event of the resource may be due."""
        self._held.discard((outcome.world_id, outcome.delivery_id))
        if not _frees_its_place(outcome):
            self._places.give_back((outcome.world_id, outcome.webhook_id))
        self._look_again.set()

    async def _renew(self) -> None:
        await asyncio.sleep(_RENEW)
        IN_FLIGHT.set(len(self._attempting))
        if self._held:
            async with self._ports.database.acquire() as connection:
                await claim_queries.renew(connection, list(self._held))

    async def _end_disabled(self) -> None:
        """End deliveries that a fan-out made while a job already ended those of the disabled webhook."""
        await asyncio.sleep(_POLL)
        while self._disabled:
            world_id, webhook_id = self._disabled.pop()
            await self._endings.end_pending(WebhookJob(world_id, webhook_id))

    async def _remove_erased(self) -> None:
        """Remove the rows of erased events, once there may be some."""
        await _set_or_late(self._erased)
        while not self._stopping and await self._erased_events.remove_some():
            self._look_again.set()  # a later event of the resource waits for the removed deliveries


def _frees_its_place(outcome: DeliveryOutcome) -> bool:
    """Whether another attempt may begin before the outcome is written. A failure may open the circuit."""
    return outcome.state == "succeeded" and not outcome.probe


async def _set_or_late(event: asyncio.Event) -> None:
    """Wait until the event is set, a second at most, and clear it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_POLL):
            await event.wait()
    event.clear()
