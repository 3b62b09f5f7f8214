"""All SQL of retention.

A rule is one field of one override: level, subject, kind (`recording` for `recordings_days`, `audio` for
`audio_days`) and days. What a rule concerns falls due when it is that old, but never before the rule is in
force. Of several rules, the earliest time counts. `falls_due` is the only place that says this; the preview
and the eraser use it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_values
from lapel.slices.configuration.service import RETENTION_OVERRIDES, WORLDS_WITH_RETENTION, Level
from lapel.slices.erasure.service import held
from lapel.slices.recordings.service import (
    AGE_COLUMNS,
    BY_AGE,
    PRESENT,
    RECEIVED,
    AgeScope,
    ErasedKind,
    received_before,
)
from lapel.slices.retention.rows import DueRecordingRow, RuleRow, SearchEndRow

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

# A change of an override is in force this long after it was made, so that a mistake can be corrected.
GRACE = timedelta(hours=22)
_GRACE = f"interval '{GRACE // timedelta(hours=1)} hours'"
# Days of 24 hours, because a day of PostgreSQL depends on the time zone of the session.
DAY = "interval '24 hours'"
# The most recordings of one transaction, which takes about a tenth of a second. As a constant of the
# statement, it makes PostgreSQL walk along the index, instead of sorting everything that is due.
BATCH = 200
# The most recordings along which one statement walks to find these.
WALKED = 2000
# Recordings first, so that the audio of a recording that is due itself has no entry of its own in the ledger.
KINDS: tuple[ErasedKind, ...] = ("recording", "audio")
_FIELDS: dict[ErasedKind, str] = {"recording": "recordings_days", "audio": "audio_days"}
SCOPES: dict[Level, AgeScope] = {
    "organization": "world",
    "project": "world",
    "end_user": "end_user",
    "device": "device",
}

# The rules of a world ($1).
RULES = f"""
SELECT o.level, o.subject_id, (o.value ->> '{_FIELDS["recording"]}')::integer AS recording_days,
    (o.value ->> '{_FIELDS["audio"]}')::integer AS audio_days, o.updated_at + {_GRACE} AS in_force_at
FROM ({RETENTION_OVERRIDES}) o
"""


def falls_due(kind: ErasedKind, rule: str) -> str:
    """SQL: when a recording `r`, or its audio, falls due by a rule; NULL if the rule has no such field.

    `rule`: the alias of a row of `RULES`.
    """
    days = f"{rule}.{kind}_days"
    return f"""(CASE WHEN {days} IS NOT NULL
        THEN GREATEST({RECEIVED[kind]} + {days} * {DAY}, {rule}.in_force_at) END)"""


def in_order_of_age(
    kind: ErasedKind,
    scope: AgeScope,
    moment: str,
    *,
    after: str,
    limit: int,
    subject: str = "u.subject_id",
    more: str = "",
) -> str:
    """SQL: the next recordings that may be due at `moment` by the rule `u`, after a place (`after`: age, id).

    It is a walk along an index, and ends after `limit` rows, whatever they are. `is_due` then leaves out what
    is not due. So a statement reads few rows, also if a hold keeps a million of them. `subject`: the end user
    or device of the scope; `more`: further conditions.
    """
    oldest = f"{moment} - u.{kind}_days * {DAY}"
    return f"""SELECT {AGE_COLUMNS} FROM {received_before(kind, scope, oldest, subject)} {more}
        AND ({BY_AGE[kind]}, r.id) > ({after}) ORDER BY {BY_AGE[kind]}, r.id LIMIT {limit}"""


def is_due(kind: ErasedKind, rule: str, moment: str) -> str:
    """SQL: true if a recording `r` that is not deleted, or its audio, is due at `moment` by a rule."""
    return f"{PRESENT} AND {falls_due(kind, rule)} <= {moment}"


_NOW = "$2::timestamptz"


def _free(kind: ErasedKind) -> str:
    """SQL: true if a recording `r` is due at $2 by the rule `u`, and has no legal hold."""
    return f"{is_due(kind, 'u', _NOW)} AND NOT {held('r')}"


def _may_have_due(kind: ErasedKind, scope: AgeScope) -> str:
    """SQL: whether anything may be due by the rule `u`.

    It is one look-up in the index by age. With EXISTS, PostgreSQL would drop the order, and read the table.
    """
    one = in_order_of_age(kind, scope, _NOW, after="'-infinity', ''", limit=1)
    return f"coalesce((SELECT true FROM ({one}) r), false)"


# A page of the rules of one kind. What may be due may also be held, or younger than it seems.
# $2: the time, $3 and $4: the rule before the page.
_PAGE_OF_RULES = """
SELECT u.level, u.subject_id, CASE
    WHEN u.in_force_at > $2 THEN false
    WHEN u.level = 'end_user' THEN {of_end_user}
    WHEN u.level = 'device' THEN {of_device}
    ELSE {of_world} END AS may_have_due
FROM ({rules}) u
WHERE u.{kind}_days IS NOT NULL AND (u.level, u.subject_id) > ($3, $4)
ORDER BY u.level, u.subject_id LIMIT $5
"""

# $3, $4: the rule; $5, $6: the last recording before. A statement walks along at most `WALKED` recordings.
_FIND = """
SELECT due.id, due.end_user_id, due.received_at FROM ({rules}) u CROSS JOIN LATERAL (
    SELECT r.id, r.end_user_id, {age} AS received_at FROM ({walk}) r WHERE {free}
    ORDER BY {age}, r.id LIMIT {batch}
) due
WHERE u.level = $3 AND u.subject_id = $4 LIMIT $7
"""

# Where such a walk ends; no row, if it ends with the last recording that may be due.
_END = """
SELECT walked.received_at, walked.id FROM ({rules}) u CROSS JOIN LATERAL (
    SELECT {age} AS received_at, r.id FROM ({walk}) r ORDER BY {age}, r.id OFFSET {walked} - 1 LIMIT 1
) walked
WHERE u.level = $3 AND u.subject_id = $4
"""

# $5: what the search found. Reads the rule and the recordings again, because they may have changed meanwhile.
# A recording that a request or another worker has locked is left for the next run.
_CLAIM = """
SELECT due.id FROM ({rules}) u CROSS JOIN LATERAL (
    SELECT r.id FROM {old} AND r.id = ANY($5::text[]) AND {free} FOR {lock} SKIP LOCKED
) due
WHERE u.level = $3 AND u.subject_id = $4
"""
# Whether the rule concerns the recording. A coalesce fits no index, so PostgreSQL looks the recordings up by
# their ids: the index of an end user may have a hundred thousand entries.
_CONCERNED: dict[AgeScope, str] = {
    "world": "",
    "end_user": "AND coalesce(r.end_user_id = u.subject_id, false)",
    "device": "AND coalesce(r.device_id = u.subject_id, false)",
}
# Deletion needs the strongest lock. For an audio, the lock of a completion is enough.
_LOCKS: dict[ErasedKind, str] = {"recording": "UPDATE", "audio": "NO KEY UPDATE"}

PAGES_OF_RULES: dict[ErasedKind, str] = {
    kind: _PAGE_OF_RULES.format(
        rules=RULES,
        kind=kind,
        of_end_user=_may_have_due(kind, "end_user"),
        of_device=_may_have_due(kind, "device"),
        of_world=_may_have_due(kind, "world"),
    )
    for kind in KINDS
}
_KEYS: tuple[tuple[ErasedKind, AgeScope], ...] = tuple(
    (kind, scope) for kind in KINDS for scope in ("device", "end_user", "world")
)
_WALKS: dict[tuple[ErasedKind, AgeScope], str] = {
    (kind, scope): in_order_of_age(kind, scope, _NOW, after="$5, $6", limit=WALKED) for kind, scope in _KEYS
}
FINDS: dict[tuple[ErasedKind, AgeScope], str] = {
    (kind, scope): _FIND.format(
        rules=RULES, age=BY_AGE[kind], walk=_WALKS[kind, scope], free=_free(kind), batch=BATCH
    )
    for kind, scope in _KEYS
}
ENDS: dict[tuple[ErasedKind, AgeScope], str] = {
    (kind, scope): _END.format(rules=RULES, age=BY_AGE[kind], walk=_WALKS[kind, scope], walked=WALKED)
    for kind, scope in _KEYS
}
CLAIMS: dict[tuple[ErasedKind, AgeScope], str] = {
    (kind, scope): _CLAIM.format(
        rules=RULES,
        old=received_before(kind, "world", f"{_NOW} - u.{kind}_days * {DAY}", ""),
        free=f"{_free(kind)} {_CONCERNED[scope]}",
        lock=_LOCKS[kind],
    )
    for kind, scope in _KEYS
}

ADD_ERASED = """
INSERT INTO retention_counts (kind, erased, last_erased_at) VALUES ($1, $2, $3)
ON CONFLICT (kind) DO UPDATE
SET erased = retention_counts.erased + excluded.erased, last_erased_at = excluded.last_erased_at
"""
ERASED = "SELECT kind, erased FROM retention_counts"


async def worlds(connection: Connection) -> list[int]:
    """The worlds that have a rule, in no order."""
    return await fetch_values(connection, int, WORLDS_WITH_RETENTION)


async def rules(
    connection: Connection, world_id: int, now: datetime, kind: ErasedKind, after: tuple[str, str], limit: int
) -> list[RuleRow]:
    """The rules of a world and kind that follow `after` (level, subject), at most `limit`."""
    return await fetch_rows(connection, RuleRow, PAGES_OF_RULES[kind], world_id, now, *after, limit)


async def find(
    connection: Connection,
    world_id: int,
    now: datetime,
    kind: ErasedKind,
    rule: tuple[Level, str],
    after: tuple[datetime, str],
    limit: int,
) -> list[DueRecordingRow]:
    """Recordings that are due by a rule (level, subject), or whose audio is due, after `after`.

    At most `limit`, among the next `WALKED` recordings that may be due. The list is in the order of the
    search, oldest first.
    """
    given = (world_id, now, *rule, *after, limit)
    return await fetch_rows(connection, DueRecordingRow, FINDS[kind, SCOPES[rule[0]]], *given)


async def find_end(
    connection: Connection,
    world_id: int,
    now: datetime,
    kind: ErasedKind,
    rule: tuple[Level, str],
    after: tuple[datetime, str],
) -> SearchEndRow | None:
    """Where a search ends that begins after `after`. None when it looks at all that may be due."""
    given = (world_id, now, *rule, *after)
    return await fetch_row(connection, SearchEndRow, ENDS[kind, SCOPES[rule[0]]], *given)


async def claim(
    connection: Connection,
    world_id: int,
    now: datetime,
    kind: ErasedKind,
    rule: tuple[Level, str],
    found: list[str],
) -> list[str]:
    """Lock the found recordings that are still due by the rule. Those that are locked are left out."""
    given = (world_id, now, *rule, found)
    return await fetch_values(connection, str, CLAIMS[kind, SCOPES[rule[0]]], *given)


async def add_erased(connection: Connection, kind: ErasedKind, count: int, now: datetime) -> None:
    """Count erased recordings or audio."""
    await connection.execute(ADD_ERASED, kind, count, now)
