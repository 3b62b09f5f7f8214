"""All SQL of the preview of retention: everything that falls due until a time.

The statements find recordings as the eraser does, rule by rule. Several rules may find a recording; it is
listed under the rule that decides. If the audio of a recording falls due before the recording, both are
listed; otherwise the audio goes with the recording.

A statement walks along the rules, and for each of them along an index, and ends after the rows that are asked
for. So the time of a page does not grow with the number of recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_row, fetch_rows
from lapel.slices.configuration.service import Level
from lapel.slices.erasure.service import held
from lapel.slices.recordings.service import AUDIO_BYTES, BY_AGE, AgeScope, ErasedKind, other_bytes
from lapel.slices.retention.queries import KINDS, RULES, SCOPES, due_by, falls_due
from lapel.slices.retention.rows import FallingDueRow, FallingDueSumRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.retention.rows import PreviewPlace

# The aliases of the rules that concern a recording `r`, the nearest level first.
_LEVELS: dict[str, Level] = {"d": "device", "e": "end_user", "p": "project", "o": "organization"}
_SUBJECTS = {"d": "r.device_id", "e": "r.end_user_id", "p": "''", "o": "''"}

# $1: the world. $2: the time until which something falls due. $3 to $6: level, subject, time and id of the
# row before. $7: the most rows. $8: the end user, if one is given.
_UNTIL = "$2::timestamptz"
# LIMIT makes PostgreSQL look each rule up by the key of its override, so that the recordings stay in order.
_JOINS = "".join(
    f"""LEFT JOIN LATERAL (
            SELECT * FROM ({RULES}) n WHERE n.level = '{level}' AND n.subject_id = {_SUBJECTS[rule]} LIMIT 1
        ) {rule} ON true
        """
    for rule, level in _LEVELS.items()
)


def _earliest(kind: ErasedKind) -> str:
    """When a recording `r`, or its audio, falls due by the earliest of all rules; NULL: never."""
    return f"LEAST({', '.join(falls_due(kind, rule) for rule in _LEVELS)})"


def _deciding(kind: ErasedKind) -> str:
    """The level of the rule with the earliest time; of equal ones, the nearest level."""
    cases = " ".join(
        f"WHEN {falls_due(kind, rule)} = {_earliest(kind)} THEN '{level}'" for rule, level in _LEVELS.items()
    )
    return f"CASE {cases} END"


def _due(kind: ErasedKind, scope: AgeScope, *, of_end_user: bool) -> str:
    """SQL after FROM: recordings `r` that are due at $2 by the rule `u`: all, or those of one end user."""
    if not of_end_user:
        return due_by(kind, scope, "u", _UNTIL, joins=_JOINS)
    if scope == "world":
        return due_by(kind, "end_user", "u", _UNTIL, subject="$8::text", joins=_JOINS)
    return f"{due_by(kind, scope, 'u', _UNTIL, joins=_JOINS)} AND r.end_user_id = $8::text"


# What falls due until $2 because of the rules of a scope: by rule, and oldest first. PostgreSQL estimates
# that a coalesce is true in half of the rows, and that an equality nearly never is. With the equality alone,
# it would sort all recordings instead of walking along the index.
_FOUND = """
SELECT u.level AS source, u.subject_id, x.recording_id, x.end_user_id, x.received_at, x.falls_due_at,
    u.{kind}_days AS days, x.world_id, x.audio_erased_at, x.file_size_bytes, x.audio_is_listed, x.held
FROM ({rules}) u CROSS JOIN LATERAL (
    SELECT r.world_id, r.id AS recording_id, r.end_user_id, r.audio_erased_at, r.file_size_bytes,
        {age} AS received_at, {own} AS falls_due_at,
        coalesce({other} < {own}, false) AS audio_is_listed, {held} AS held
    FROM {due}
        AND coalesce(u.level = {deciding}, false) {goes_alone}
        AND ({age}, r.id) > (
            CASE WHEN (u.level, u.subject_id) = ($3, $4) THEN $5::timestamptz ELSE '-infinity' END, $6)
    ORDER BY {age}, r.id LIMIT $7
) x
WHERE u.level IN ({levels}) AND (u.level, u.subject_id) >= ($3, $4)
ORDER BY u.level, u.subject_id, x.received_at, x.recording_id LIMIT $7
"""

_PAGE = """
SELECT f.recording_id, f.end_user_id, '{kind}' AS kind, f.falls_due_at, f.source, f.days, f.held,
    f.subject_id, f.received_at
FROM ({found}) f
"""

_SUM = """
SELECT count(*) AS count, coalesce(sum({size}), 0)::bigint AS bytes FROM ({found}) r WHERE NOT r.held
"""


def _found(kind: ErasedKind, scope: AgeScope, *, of_end_user: bool) -> str:
    own, other = _earliest(kind), _earliest("recording" if kind == "audio" else "audio")
    return _FOUND.format(
        kind=kind,
        rules=RULES,
        age=BY_AGE[kind],
        own=own,
        other=other,
        held=held("r"),
        due=_due(kind, scope, of_end_user=of_end_user),
        deciding=_deciding(kind),
        goes_alone=f"AND coalesce({own} < {other}, true)" if kind == "audio" else "",
        levels=", ".join(f"'{level}'" for level, each in SCOPES.items() if each == scope),
    )


def _size(kind: ErasedKind) -> str:
    """The bytes of a row. The bytes of an audio that is listed itself are not part of its recording."""
    if kind == "audio":
        return AUDIO_BYTES
    return f"{other_bytes('r')} + CASE WHEN r.audio_is_listed THEN 0 ELSE {AUDIO_BYTES} END"


_KEYS: tuple[tuple[ErasedKind, AgeScope, bool], ...] = tuple(
    (kind, scope, of_end_user)
    for kind in KINDS
    for scope in ("device", "end_user", "world")
    for of_end_user in (False, True)
)
# By kind, by the scope of the rules, and by whether an end user is given.
PAGES: dict[tuple[ErasedKind, AgeScope, bool], str] = {
    key: _PAGE.format(kind=key[0], found=_found(*key[:2], of_end_user=key[2])) for key in _KEYS
}
SUMS: dict[tuple[ErasedKind, AgeScope, bool], str] = {
    key: _SUM.format(size=_size(key[0]), found=_found(*key[:2], of_end_user=key[2])) for key in _KEYS
}


async def list_some(
    connection: Connection,
    world_id: int,
    until: datetime,
    end_user_id: str | None,
    after: PreviewPlace,
    limit: int,
) -> list[FallingDueRow]:
    """At most `limit` recordings or audio that fall due until a time, after a place in the list.

    The list has a part for each kind and scope, in the order of `PARTS`. This is a part of it.
    """
    key = (after.kind, after.scope, end_user_id is not None)
    given = _given(world_id, until, end_user_id, after, limit)
    return await fetch_rows(connection, FallingDueRow, PAGES[key], *given)


async def sum_of(
    connection: Connection,
    world_id: int,
    until: datetime,
    end_user_id: str | None,
    part: PreviewPlace,
    limit: int,
) -> FallingDueSumRow:
    """The number of rows of a part of the list, at most `limit`, and their bytes."""
    key = (part.kind, part.scope, end_user_id is not None)
    given = _given(world_id, until, end_user_id, part, limit)
    return await fetch_only_row(connection, FallingDueSumRow, SUMS[key], *given)


def _given(
    world_id: int, until: datetime, end_user_id: str | None, after: PreviewPlace, limit: int
) -> tuple[object, ...]:
    place = (after.level, after.subject_id, after.received_at, after.recording_id)
    return (world_id, until, *place, limit, *(() if end_user_id is None else (end_user_id,)))
