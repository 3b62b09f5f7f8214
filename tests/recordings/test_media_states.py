"""The state machine of media and upload attempts: where each transition starts, and who writes the states."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, get_args

from lapel.foundation.ports import Ports
from lapel.slices.recordings.access import Reach
from lapel.slices.recordings.uploads import media_states
from lapel.slices.recordings.uploads.facts import NO_FACTS
from lapel.slices.recordings.uploads.media_states import AttemptState, LostRace, MediaStatus, Observed
from tests.recordings.support import Device
from tests.support.statements import statements

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

NOW = datetime(2026, 7, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
COPY = media_states.Verified(
    object_key="media/a", content_type="audio/opus", size=1, sha256="0" * 64, duration_ms=None
)
SET_MEDIA = "UPDATE media SET status = $3 WHERE world_id = $1 AND id = $2"
SET_ATTEMPT = "UPDATE upload_attempts SET state = $3 WHERE world_id = $1 AND media_id = $2"
READ = """
SELECT m.status, a.state, m.failure, m.content_type, m.last_url_expires_at
FROM media m JOIN upload_attempts a ON a.world_id = m.world_id AND a.media_id = m.id
WHERE m.world_id = $1 AND m.id = $2
"""

Transition = Callable[["Connection", Observed], Awaitable[object]]
States = tuple[MediaStatus, AttemptState]


def reach(of: Observed) -> Reach:
    return Reach(of.world_id, of.recording_id)


TRANSITIONS: dict[str, Transition] = {
    "begin": lambda connection, of: media_states.begin(connection, of, NO_FACTS, LATER),
    "hand_back": lambda connection, of: media_states.hand_back(connection, of, LATER),
    "abandon": lambda connection, of: media_states.abandon(connection, of, LATER),
    "accept": lambda connection, of: media_states.accept(connection, of, COPY, NOW),
    "refuse": lambda connection, of: media_states.refuse(connection, of, NO_FACTS, "wrong", NOW),
    "renew": lambda connection, of: media_states.renew(
        connection, reach(of), of.media_id, "audio/mpeg", None, LATER
    ),
    "expire": lambda connection, of: media_states.expire(
        connection, reach(of), [of.media_id], "nothing came", datetime(2100, 1, 1, tzinfo=UTC)
    ),
}

OPEN: list[States] = [
    ("pending", "issued"),
    ("pending", "verifying"),
    ("verifying", "issued"),
    ("verifying", "verifying"),
]
# The states before, and after. From any other states a transition raises LostRace, or changes nothing.
MOVES: dict[str, dict[States, States]] = {
    "begin": {("pending", "issued"): ("verifying", "verifying")},
    "hand_back": {("verifying", "verifying"): ("pending", "issued")},
    "abandon": {("verifying", "verifying"): ("pending", "refused")},
    "accept": dict.fromkeys(OPEN, ("uploaded", "accepted")),
    "refuse": dict.fromkeys(OPEN, ("failed", "refused")),
    "renew": {
        (status, attempt): ("pending", attempt)
        for status, attempt in product(("pending", "failed"), get_args(AttemptState))
    },
    "expire": {("pending", attempt): ("failed", attempt) for attempt in get_args(AttemptState)},
}


async def row_of(connection: Connection, world_id: int, media_id: str) -> tuple[object, ...]:
    row = await connection.fetchrow(READ, world_id, media_id)
    assert row is not None
    return tuple(row)


async def test_a_transition_starts_in_its_states_only(device: Device, ports: Ports) -> None:
    recording_id = await device.recording()
    media_id = (await device.start(recording_id))["media_id"]
    world_id = device.tenant.test_world
    async with ports.database.acquire() as connection:
        attempt_id = await connection.fetchval("SELECT id FROM upload_attempts WHERE media_id = $1", media_id)
        for name, status, state in product(TRANSITIONS, get_args(MediaStatus), get_args(AttemptState)):
            of = Observed(
                world_id=world_id,
                recording_id=recording_id,
                media_id=media_id,
                status=status,
                attempt_id=attempt_id,
                state=state,
            )
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(SET_MEDIA, world_id, media_id, status)
            await connection.execute(SET_ATTEMPT, world_id, media_id, state)
            before = await row_of(connection, world_id, media_id)
            try:
                await TRANSITIONS[name](connection, of)
                after = await row_of(connection, world_id, media_id)
            except LostRace:
                after = before
            finally:
                await transaction.rollback()
            moves = MOVES[name].get((status, state))
            assert after[:2] == (moves or (status, state)), (name, status, state)
            assert (after == before) == (moves is None), (name, status, state)


async def test_a_transition_from_states_that_were_not_read_is_a_lost_race(
    device: Device, ports: Ports
) -> None:
    """Another request may have moved the row to a state in which the transition could start, too."""
    recording_id = await device.recording()
    media_id = (await device.start(recording_id))["media_id"]
    async with ports.database.acquire() as connection:
        attempt_id = await connection.fetchval("SELECT id FROM upload_attempts WHERE media_id = $1", media_id)
        for name in ("accept", "refuse"):
            for status, state in OPEN[1:]:
                of = Observed(
                    world_id=device.tenant.test_world,
                    recording_id=recording_id,
                    media_id=media_id,
                    status=status,
                    attempt_id=attempt_id,
                    state=state,
                )
                transaction = connection.transaction()
                await transaction.start()
                try:
                    await TRANSITIONS[name](connection, of)
                except LostRace:
                    continue
                finally:
                    await transaction.rollback()
                raise AssertionError(f"{name} from {status}, {state} took no notice of the race")


_WRITES = re.compile(
    r"INSERT\s+INTO\s+(?:media|upload_attempts)\b"
    r"|UPDATE\s+media\s+SET\b(?:(?!\bWHERE\b)[\s\S])*\bstatus\s*="
    r"|UPDATE\s+upload_attempts\s+SET\b(?:(?!\bWHERE\b)[\s\S])*\bstate\s*=",
    re.IGNORECASE,
)


def test_one_module_has_all_statements_that_set_a_state() -> None:
    writers = {name.rpartition(".")[0] for name, sql in statements().items() if _WRITES.search(sql)}
    assert writers == {media_states.__name__}
