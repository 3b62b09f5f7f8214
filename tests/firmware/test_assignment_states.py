"""The state machine of assignments: where each transition starts, and who writes the states."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, get_args

from lapel.slices.firmware.assignments import assignment_state_queries
from lapel.slices.firmware.assignments.assignment_queries import OFFER_OF_BEAT
from lapel.slices.firmware.rollouts import rollout_queries
from lapel.slices.firmware.wire import AssignmentStatus
from tests.firmware.support import Fleet
from tests.support.statements import statements

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

DEADLINE = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD, PASSED = DEADLINE - timedelta(seconds=1), DEADLINE
SET = """
UPDATE ota_assignments SET status = $3, deadline_at = $4, rollout_id = $5 WHERE world_id = $1 AND id = $2
"""
STOP = "UPDATE rollouts SET status = 'paused' WHERE world_id = $1"
READ = "SELECT status FROM ota_assignments WHERE world_id = $1 AND id = $2"
COUNT = "SELECT count(*) FROM ota_assignments WHERE world_id = $1 AND device_id = $2"
DELIVER = f"""
WITH beat AS (SELECT $1::bigint AS world_id, $2::text AS id, $3::text), {OFFER_OF_BEAT},
{assignment_state_queries.OFFERED}
SELECT count(*) FROM offered
"""


@dataclass(frozen=True)
class Row:
    """An assignment, its device and release, and the rollout that made it."""

    world_id: int
    id: str
    device_id: str
    release_id: str
    version: str
    rollout_id: str


Transition = Callable[["Connection", Row, datetime], Awaitable[object]]


async def withdraw(connection: Connection, of: Row, now: datetime) -> None:
    await connection.execute(STOP, of.world_id)
    await assignment_state_queries.withdraw(connection, of.world_id, of.rollout_id, now, 9)


async def assign(connection: Connection, of: Row, now: datetime) -> None:
    await assignment_state_queries.assign(
        connection, of.world_id, "ota_new", of.device_id, of.release_id, DEADLINE, now
    )


async def offer(connection: Connection, of: Row, now: datetime) -> None:
    rollout = await rollout_queries.lock(connection, of.world_id, of.rollout_id)
    assert rollout is not None
    await assignment_state_queries.offer(connection, rollout, DEADLINE, now, ["ota_new"])


TRANSITIONS: dict[str, Transition] = {
    "deliver": lambda connection, of, now: connection.execute(DELIVER, of.world_id, of.device_id, "", now),
    "apply": lambda connection, of, now: assignment_state_queries.apply(
        connection, of.world_id, of.device_id, of.version, now
    ),
    "fail": lambda connection, of, now: assignment_state_queries.fail(
        connection, of.world_id, of.device_id, of.id, "wrong", now
    ),
    "expire": lambda connection, _, now: assignment_state_queries.expire(connection, now, 9),
    "expire_of_device": lambda connection, of, now: assignment_state_queries.expire_of_device(
        connection, of.world_id, of.device_id, now
    ),
    "cancel": lambda connection, of, now: assignment_state_queries.cancel(
        connection, of.world_id, [of.device_id], now, "gone"
    ),
    "withdraw": withdraw,
}
# A transition that makes an assignment changes no other one.
MAKERS: dict[str, Transition] = {"assign": assign, "offer": offer}

OPEN: tuple[AssignmentStatus, ...] = ("pending", "delivered")
# The states before, and after. From any other states a transition changes nothing.
MOVES: dict[str, dict[tuple[AssignmentStatus, datetime], AssignmentStatus]] = {
    "deliver": {(status, AHEAD): "delivered" for status in OPEN},
    "apply": {(status, AHEAD): "applied" for status in OPEN},
    "fail": {(status, AHEAD): "failed" for status in OPEN},
    "expire": {(status, PASSED): "failed" for status in OPEN},
    "expire_of_device": {(status, PASSED): "failed" for status in OPEN},
    "cancel": {(status, AHEAD): "cancelled" for status in OPEN},
    "withdraw": {("pending", AHEAD): "cancelled"},
}


async def assigned(fleet: Fleet) -> Row:
    """A device to which a release is assigned."""
    release, device_id = await fleet.released(), await fleet.device()
    made = await fleet.assign(device_id, release["id"])
    rollout = await fleet.roll_out(release)
    return Row(
        fleet.tenant.test_world, made["id"], device_id, release["id"], release["version"], rollout["id"]
    )


async def test_a_transition_starts_in_its_states_only(fleet: Fleet) -> None:
    of = await assigned(fleet)
    async with fleet.ports.database.acquire() as connection:
        for name, status, now in product(
            {**TRANSITIONS, **MAKERS}, get_args(AssignmentStatus), (AHEAD, PASSED)
        ):
            transaction = connection.transaction()
            await transaction.start()
            try:
                # The same rollout offers a release once, so for `offer` another one made the assignment.
                rollout_id = None if name in MAKERS else of.rollout_id
                await connection.execute(SET, of.world_id, of.id, status, DEADLINE, rollout_id)
                await {**TRANSITIONS, **MAKERS}[name](connection, of, now)
                after = await connection.fetchval(READ, of.world_id, of.id)
                count = await connection.fetchval(COUNT, of.world_id, of.device_id)
            finally:
                await transaction.rollback()
            assert after == MOVES.get(name, {}).get((status, now), status), (name, status, now)
            assert count == (2 if name in MAKERS and status not in OPEN else 1), (name, status, now)


_WRITES = re.compile(
    r"INSERT\s+INTO\s+ota_assignments\b"
    r"|UPDATE\s+ota_assignments\b(?:(?!\bWHERE\b)[\s\S])*\bstatus\s*=",
    re.IGNORECASE,
)


def test_one_module_has_all_statements_that_set_a_state() -> None:
    # The statement of a heartbeat includes the fragment that delivers.
    assert _WRITES.search(assignment_state_queries.OFFERED)
    found = {name: sql.replace(assignment_state_queries.OFFERED, "") for name, sql in statements().items()}
    writers = {name.rpartition(".")[0] for name, sql in found.items() if _WRITES.search(sql)}
    assert writers == {assignment_state_queries.__name__}
