"""All SQL of answers that are being made.

The times are the database's, so that processes on several machines agree which rows are renewed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.pool import affected
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_value
from lapel.slices.ask.rows import AnswerRow

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

# A row that is not renewed for this time has lost its process.
LOST = "interval '10 seconds'"
# Failed and lost rows stay so long for readers that come back.
KEPT = "interval '10 minutes'"

_LIVE = f"state <> 'failed' AND seen_at > clock_timestamp() - {LOST}"

INSERT = """
INSERT INTO ask_answers (world_id, id, session_id, end_user_id, state, claim, created_at, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp())
"""
IS_CLAIMED = f"SELECT EXISTS (SELECT FROM ask_answers WHERE world_id = $1 AND claim = $2 AND {_LIVE})"
# A request that died, or failed, gives its key back.
UNCLAIM = "UPDATE ask_answers SET claim = NULL WHERE world_id = $1 AND claim = $2"
COUNT_LIVE = f"SELECT count(*) FROM ask_answers WHERE world_id = $1 AND session_id = $2 AND {_LIVE}"
# The caller has locked the session.
HAS_TURN = f"""
SELECT NOT EXISTS (
    SELECT FROM ask_answers earlier
    WHERE earlier.world_id = $1 AND earlier.session_id = mine.session_id AND earlier.place < mine.place
        AND {_LIVE})
FROM ask_answers mine WHERE mine.world_id = $1 AND mine.id = $2
"""
BEGIN = """
UPDATE ask_answers SET state = 'running', seen_at = clock_timestamp()
WHERE world_id = $1 AND id = $2 AND state = 'waiting'
"""
# No rows: the answer is over. An answer that another process took for lost is over, too.
RENEW = f"""
UPDATE ask_answers SET seen_at = clock_timestamp(), parts = coalesce($3, parts)
WHERE world_id = $1 AND id = $2 AND {_LIVE} RETURNING stop_wanted
"""
STOP = f"""
UPDATE ask_answers SET stop_wanted = true WHERE world_id = $1 AND session_id = $2 AND {_LIVE}
"""
READ = f"""
SELECT id, state, parts, error_code, error_message, NOT ({_LIVE}) AND state <> 'failed' AS lost
FROM ask_answers WHERE world_id = $1 AND session_id = $2 AND id = $3
"""
FIND_NEWEST = f"""
SELECT coalesce((
    SELECT id FROM ask_answers WHERE world_id = $1 AND session_id = $2 AND {_LIVE} ORDER BY place LIMIT 1), (
    SELECT id FROM ask_messages WHERE world_id = $1 AND session_id = $2 ORDER BY place DESC LIMIT 1))
"""
FINISH = f"DELETE FROM ask_answers WHERE world_id = $1 AND id = $2 AND {_LIVE}"
# What was said so far is not kept.
FAIL = """
UPDATE ask_answers SET state = 'failed', claim = NULL, parts = '[]', error_code = $3, error_message = $4
WHERE world_id = $1 AND id = $2
"""
DELETE_OF_SESSION = "DELETE FROM ask_answers WHERE world_id = $1 AND session_id = $2"
DELETE_OF_END_USER = deleting_some(
    "ask_answers",
    "SELECT ctid FROM ask_answers WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE",
)
# In every world: nobody owns these rows any more.
SWEEP = f"DELETE FROM ask_answers WHERE seen_at < now() - {KEPT}"


async def insert(
    connection: Connection,
    world_id: int,
    answer_id: str,
    session_id: str,
    end_user_id: str,
    claim: bytes | None,
) -> None:
    """Insert an answer that waits for its turn."""
    await connection.execute(INSERT, world_id, answer_id, session_id, end_user_id, "waiting", claim)


async def take_claim(connection: Connection, world_id: int, claim: bytes) -> bool:
    """Whether no answer is being made for a claim. The claim of an answer that lost its process is given
    back."""
    if await fetch_only_value(connection, bool, IS_CLAIMED, world_id, claim):
        return False
    await connection.execute(UNCLAIM, world_id, claim)
    return True


async def count_live(connection: Connection, world_id: int, session_id: str) -> int:
    """The answers of a session that run or wait."""
    return await fetch_only_value(connection, int, COUNT_LIVE, world_id, session_id)


async def begin_if_first(connection: Connection, world_id: int, answer_id: str) -> bool | None:
    """Begin an answer if it is its turn. The caller has locked the session. None: the row is gone."""
    has_turn = await fetch_value(connection, bool, HAS_TURN, world_id, answer_id)
    if has_turn:
        await connection.execute(BEGIN, world_id, answer_id)
    return has_turn


async def renew(connection: Connection, world_id: int, answer_id: str, parts: bytes | None) -> bool | None:
    """Renew the row, and store the answer so far. Whether the answer is to stop; None: it is over."""
    return await fetch_value(connection, bool, RENEW, world_id, answer_id, parts)


async def stop(connection: Connection, world_id: int, session_id: str) -> bool:
    """Ask the answers of a session to stop. Whether there is one."""
    return affected(await connection.execute(STOP, world_id, session_id)) > 0


async def read(connection: Connection, world_id: int, session_id: str, answer_id: str) -> AnswerRow | None:
    """An answer that is being made, or that failed."""
    return await fetch_row(connection, AnswerRow, READ, world_id, session_id, answer_id)


async def find_newest(connection: Connection, world_id: int, session_id: str) -> str | None:
    """The id of the answer that is being made in the session; if there is none, of the newest answer."""
    return await fetch_value(connection, str, FIND_NEWEST, world_id, session_id)


async def finish(connection: Connection, world_id: int, answer_id: str) -> bool:
    """Delete the row, in the transaction that stores the messages. False if the answer is over already."""
    return affected(await connection.execute(FINISH, world_id, answer_id)) == 1


async def fail(connection: Connection, world_id: int, answer_id: str, code: str, message: str) -> None:
    """Tell readers that the answer failed."""
    await connection.execute(FAIL, world_id, answer_id, code, message)


async def delete_of_session(connection: Connection, world_id: int, session_id: str) -> None:
    """End the answers of a session that is deleted."""
    await connection.execute(DELETE_OF_SESSION, world_id, session_id)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` answers of an end user. Returns their number."""
    return await fetch_only_value(connection, int, DELETE_OF_END_USER, world_id, end_user_id, limit)


async def sweep(connection: Connection) -> int:
    """Delete rows that were not renewed for a long time. Returns their number."""
    return affected(await connection.execute(SWEEP))
