"""Writes the outcomes of attempts in batches: attempts, deliveries, and the state of webhooks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.webhooks.delivery.settling import outcome_queries
from lapel.slices.webhooks.delivery.settling.circuit import AttemptEnd, Circuit, after_attempts
from lapel.slices.webhooks.delivery.settling.disabling import disable
from lapel.slices.webhooks.payloads import BRING_FORWARD, WebhookJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryOutcome
    from lapel.slices.webhooks.wire import DisabledReason

# Outcomes of one transaction.
_MOST = 500
# Seconds in which outcomes gather before they are written.
_GATHER = 0.004
# Seconds until deliveries that another transaction has locked are tried again.
_LOCKED = 0.01

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OutcomeWriter:
    """Keeps outcomes until they are written. `written` is called for each one, also when its delivery is
    gone. `chance`: a random number from 0 to 1."""

    def __init__(
        self, ports: Ports, written: Callable[[DeliveryOutcome], None], chance: Callable[[], float]
    ) -> None:
        self._ports = ports
        self._written = written
        self._chance = chance
        self._waiting: list[DeliveryOutcome] = []
        # Written outcomes that decide about their webhook, whose row another transaction had locked.
        self._undecided: list[DeliveryOutcome] = []
        self._some = asyncio.Event()
        self._size = _MOST

    @property
    def kept(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._waiting) + len(self._undecided)

    def put(self, outcome: DeliveryOutcome) -> None:
        """Keep an outcome for the next batch."""
        self._waiting.append(outcome)
        self._some.set()

    async def step(self) -> None:
        """Wait for outcomes and write a batch. Raises Unavailable when the database is away: the outcomes
        are kept."""
        await self._some.wait()
        await asyncio.sleep(_GATHER)
        await self._flush()

    async def drain(self) -> None:
        """Write all that is kept. Raises Unavailable when the database is away."""
        while self._waiting or self._undecided:
            await self._flush()

    async def _flush(self) -> None:
        """Write a batch of what is kept. Raises Unavailable when the database is away."""
        self._some.clear()
        batch = self._waiting[: self._size]
        try:
            locked = await self._write(batch)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(batch) == 1:  # its lease ends, and the delivery is attempted again
                _log.error("webhooks.outcome_refused", delivery=batch[0].delivery_id, error=str(error))
                self._waiting.remove(batch[0])
                self._written(batch[0])
            self._size = 1  # find the outcome that the database refuses
        else:
            self._size = min(2 * self._size, _MOST)
            # Behind all others, so that many locked deliveries do not hold them up.
            left = [each for each in batch if (each.world_id, each.delivery_id) in locked]
            self._waiting[: len(batch)] = []
            self._waiting += left
            for outcome in batch:
                if (outcome.world_id, outcome.delivery_id) not in locked:
                    self._written(outcome)
            if left or self._undecided:
                await asyncio.sleep(_LOCKED)
        finally:
            if self._waiting or self._undecided:
                self._some.set()

    async def _write(self, batch: Sequence[DeliveryOutcome]) -> set[tuple[int, str]]:
        """Write these outcomes; returns the deliveries that another transaction has locked."""
        if not batch and not self._undecided:
            return set()
        async with self._ports.database.transaction() as connection:
            locked = await outcome_queries.write(connection, batch) if batch else set[tuple[int, str]]()
            done = [each for each in batch if (each.world_id, each.delivery_id) not in locked]
            undecided = await self._settle_webhooks(connection, [*self._undecided, *done])
            crash_point("delivery:before-commit")
        self._undecided = undecided
        crash_point("delivery:committed")
        return locked

    async def _settle_webhooks(
        self, connection: Connection, outcomes: Sequence[DeliveryOutcome]
    ) -> list[DeliveryOutcome]:
        """Change the circuits of the outcomes' webhooks, and disable those that are gone or fail too long.

        Returns the outcomes for which their webhook must be changed later, because it is locked.
        """
        if not outcomes:
            return []
        by_webhook: defaultdict[tuple[int, str], list[DeliveryOutcome]] = defaultdict(list)
        for outcome in outcomes:
            by_webhook[outcome.world_id, outcome.webhook_id].append(outcome)
        asked = [(*key, any(o.state != "succeeded" for o in each)) for key, each in by_webhook.items()]
        webhooks = await outcome_queries.lock_webhooks(connection, asked)
        changed: list[tuple[int, str, Circuit]] = []
        ended: list[tuple[int, str, DisabledReason]] = []
        for webhook in webhooks:
            # What the receiver at an earlier URL answered says nothing about the present one.
            own = [o for o in by_webhook[webhook.world_id, webhook.id] if o.url == webhook.url]
            before = Circuit(
                webhook.failures, webhook.failing_since, webhook.paused_until, webhook.verified_at
            )
            circuit = self._circuit(before, own, webhook.at)
            if circuit.has_ended_outage(before):
                # One job for each outage: the job of an outage before may be running, and is then past some
                # of these deliveries.
                job, outage = WebhookJob(webhook.world_id, webhook.id), before.failing_since
                await enqueue(connection, BRING_FORWARD, job, dedupe=f"{webhook.id}:{outage}")
            changed.append((webhook.world_id, webhook.id, circuit))
            if any(o.gone for o in own):
                ended.append((webhook.world_id, webhook.id, "gone"))
            elif own and circuit.may_be_given_up(webhook.at):
                ended.append((webhook.world_id, webhook.id, "failing"))
        if changed:
            await outcome_queries.set_circuits(connection, changed)
        for world_id, webhook_id, reason in ended:
            await disable(connection, self._ports, world_id, webhook_id, reason)
        decide = [o for o in outcomes if o.gone or o.probe]
        missed = {(o.world_id, o.webhook_id) for o in decide} - {
            (each.world_id, each.id) for each in webhooks
        }
        if not missed:
            return []
        locked = await outcome_queries.locked_webhooks(connection, [e for e in asked if e[:2] in missed])
        return [o for o in decide if (o.world_id, o.webhook_id) in locked]

    def _circuit(self, before: Circuit, outcomes: Sequence[DeliveryOutcome], now: datetime) -> Circuit:
        ends = [AttemptEnd(o.state == "succeeded", o.probe, o.pause_seconds) for o in outcomes]
        return after_attempts(before, ends, now, self._chance)
