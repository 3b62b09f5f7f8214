"""All SQL of the preview of retention: everything that falls due until a time.

The statements find recordings as the eraser does, rule by rule. Several rules may find a recording; it is
listed under the rule that decides. If the audio of a recording falls due before the recording, both are
listed; otherwise the audio goes with the recording.

A statement walks along the rules, and for each of them along an index, and ends after a fixed number of
recordings, whether they are listed or not. So its time does not grow with the number of recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from lapel.foundation.database.rows import fetch_only_row, fetch_row, fetch_rows
from lapel.slices.configuration.service import Level
from lapel.slices.erasure.service import held
from lapel.slices.recordings.service import AUDIO_BYTES, BY_AGE, AgeScope, ErasedKind, other_bytes
from lapel.slices.retention.queries import DAY, KINDS, RULES, SCOPES, falls_due, in_order_of_age, is_due
from lapel.slices.retention.rows import FallingDueRow, FallingDueSumRow, PreviewEndRow, PreviewPlace

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# The aliases of the rules that concern a recording `r`, the nearest level first.
_LEVELS: dict[str, Level] = {"d": "device", "e": "end_user", "p": "project", "o": "organization"}
_SUBJECTS = {"d": "r.device_id", "e": "r.end_user_id", "p": "''", "o": "''"}

# The most recordings along which the statement of a page walks, and the statement of the totals.
WALKED = 5_000
COUNTED = 10_000
_AGE: dict[ErasedKind, str] = {kind: column.removeprefix("r.") for kind, column in BY_AGE.items()}
# $1: the world. $2: the time until which something falls due. $3 to $6: level, subject, time and id of the
# row before. Then the end user, if one is given, and for a page the most rows.
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


# An audio is not listed if its recording falls due by the same rule no later. This leaves out a long start of
# the list: all audio and recordings that fall due together, at the time when a new rule is in force.
_NO_OLDER = f"""CASE WHEN u.recording_days <= u.audio_days THEN 'infinity'
        WHEN u.recording_days IS NULL THEN '-infinity' ELSE u.in_force_at - u.recording_days * {DAY} END"""

# Along the rules of a scope, and for each of them along an index, to the next rows that may fall due.
_WALK = """
SELECT u.level, u.subject_id, u.recording_days, u.audio_days, u.in_force_at, x.*
FROM ({rules}) u CROSS JOIN LATERAL ({next}) x
WHERE u.level IN ({levels}) AND (u.level, u.subject_id) >= ($3, $4)
ORDER BY u.level, u.subject_id, x.{age}, x.id
"""

# `is_listed`: it falls due until $2, and the rule that found it decides.
_FOUND = """
SELECT r.level AS source, r.subject_id, r.id AS recording_id, r.end_user_id, r.{age} AS received_at,
    {own} AS falls_due_at, r.{kind}_days AS days, r.in_force_at, r.world_id, r.audio_erased_at,
    r.file_size_bytes, coalesce({other} < {own}, false) AS audio_is_listed, {held} AS held,
    coalesce({due} AND r.level = {deciding} {goes_alone}, false) AS is_listed
FROM ({walk} LIMIT {limit}) r
{joins}
"""

_PAGE = """
SELECT f.recording_id, f.end_user_id, '{kind}' AS kind, f.falls_due_at, f.source, f.days, f.in_force_at,
    f.held, f.subject_id, f.received_at
FROM ({found}) f WHERE f.is_listed
ORDER BY f.source, f.subject_id, f.received_at, f.recording_id LIMIT {limit}
"""

_END = """
SELECT w.level, w.subject_id, w.{age} AS received_at, w.id AS recording_id
FROM ({walk} OFFSET {limit} - 1 LIMIT 1) w
"""

_SUM = """
SELECT count(*) FILTER (WHERE {counted}) AS count,
    coalesce(sum({size}) FILTER (WHERE {counted}), 0)::bigint AS bytes, count(*) < {limit} AS is_complete
FROM ({found}) r
"""


def _walk(kind: ErasedKind, scope: AgeScope, limit: int, *, of_end_user: bool) -> str:
    """SQL: recordings that may be due at $2, each with the rule that finds it; all, or of one end user."""
    subject, more = "u.subject_id", ""
    if of_end_user and scope == "world":
        subject = "$7::text"
    elif of_end_user:
        more = "AND r.end_user_id = $7::text"
    if kind == "audio":
        more += f" AND {BY_AGE[kind]} > {_NO_OLDER}"
    following = in_order_of_age(
        kind,
        "end_user" if of_end_user and scope == "world" else scope,
        _UNTIL,
        after="CASE WHEN (u.level, u.subject_id) = ($3, $4) THEN $5::timestamptz ELSE '-infinity' END, $6",
        limit=limit,
        subject=subject,
        more=more,
    )
    return _WALK.format(
        rules=RULES,
        next=following,
        age=_AGE[kind],
        levels=", ".join(f"'{level}'" for level, each in SCOPES.items() if each == scope),
    )


def _found(kind: ErasedKind, scope: AgeScope, limit: int, *, of_end_user: bool) -> str:
    own, other = _earliest(kind), _earliest("recording" if kind == "audio" else "audio")
    return _FOUND.format(
        kind=kind,
        age=_AGE[kind],
        own=own,
        other=other,
        held=held("r"),
        due=is_due(kind, "r", _UNTIL),
        deciding=_deciding(kind),
        goes_alone=f"AND coalesce({own} < {other}, true)" if kind == "audio" else "",
        walk=_walk(kind, scope, limit, of_end_user=of_end_user),
        limit=limit,
        joins=_JOINS,
    )


def _page(kind: ErasedKind, scope: AgeScope, *, of_end_user: bool) -> str:
    found = _found(kind, scope, WALKED, of_end_user=of_end_user)
    return _PAGE.format(kind=kind, found=found, limit="$8" if of_end_user else "$7")


def _end(kind: ErasedKind, scope: AgeScope, *, of_end_user: bool) -> str:
    walk = _walk(kind, scope, WALKED, of_end_user=of_end_user)
    return _END.format(age=_AGE[kind], walk=walk, limit=WALKED)


def _sum(kind: ErasedKind, scope: AgeScope, *, of_end_user: bool) -> str:
    found = _found(kind, scope, COUNTED, of_end_user=of_end_user)
    return _SUM.format(size=_size(kind), found=found, limit=COUNTED, counted="r.is_listed AND NOT r.held")


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
_Key: TypeAlias = tuple[ErasedKind, AgeScope, bool]
# By kind, by the scope of the rules, and by whether an end user is given.
PAGES: dict[_Key, str] = {key: _page(*key[:2], of_end_user=key[2]) for key in _KEYS}
ENDS: dict[_Key, str] = {key: _end(*key[:2], of_end_user=key[2]) for key in _KEYS}
SUMS: dict[_Key, str] = {key: _sum(*key[:2], of_end_user=key[2]) for key in _KEYS}


async def list_some(
    connection: Connection,
    world_id: int,
    until: datetime,
    end_user_id: str | None,
    after: PreviewPlace,
    limit: int,
) -> list[FallingDueRow]:
    """At most `limit` recordings or audio that fall due until a time, after a place in the list.

    Looks at `WALKED` recordings at most. The list has a part for each kind and scope, in the order of
    `PARTS`. This is a part of it.
    """
    key = (after.kind, after.scope, end_user_id is not None)
    given = _given(world_id, until, end_user_id, after)
    return await fetch_rows(connection, FallingDueRow, PAGES[key], *given, limit)


async def find_end(
    connection: Connection, world_id: int, until: datetime, end_user_id: str | None, after: PreviewPlace
) -> PreviewPlace | None:
    """The last recording at which `list_some` looks. None when it looks at the whole rest of the part."""
    key = (after.kind, after.scope, end_user_id is not None)
    given = _given(world_id, until, end_user_id, after)
    end = await fetch_row(connection, PreviewEndRow, ENDS[key], *given)
    if end is None:
        return None
    return PreviewPlace(after.kind, after.scope, end.level, end.subject_id, end.received_at, end.recording_id)


async def sum_of(
    connection: Connection, world_id: int, until: datetime, end_user_id: str | None, part: PreviewPlace
) -> FallingDueSumRow:
    """The number of rows of a part of the list, and their bytes, among its first `COUNTED` recordings."""
    key = (part.kind, part.scope, end_user_id is not None)
    given = _given(world_id, until, end_user_id, part)
    return await fetch_only_row(connection, FallingDueSumRow, SUMS[key], *given)


def _given(
    world_id: int, until: datetime, end_user_id: str | None, after: PreviewPlace
) -> tuple[object, ...]:
    place = (after.level, after.subject_id, after.received_at, after.recording_id)
    return (world_id, until, *place, *(() if end_user_id is None else (end_user_id,)))
