"""The preview: what falls due until a time. It reads the list part by part, in the order of `PARTS`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast, get_args

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.pagination import read_cursor, write_cursor
from lapel.slices.configuration.service import Level
from lapel.slices.retention import preview_queries
from lapel.slices.retention.queries import KINDS, SCOPES
from lapel.slices.retention.rows import FallingDueSumRow, PreviewPlace
from lapel.slices.retention.views import falling_due, total_of
from lapel.slices.retention.wire import FallingDueTotals, RetentionPreview

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.service import ErasedKind
    from lapel.slices.retention.rows import FallingDueRow
    from lapel.slices.retention.wire import RetentionPreviewQuery

_AHEAD = timedelta(days=7)
_LIST = "retention"
# The beginnings of the parts of the list, in order.
PARTS = tuple(PreviewPlace(kind, scope) for kind in KINDS for scope in ("device", "end_user", "world"))


class Previews:
    """Shows what falls due. Raises Unavailable while the database is unavailable."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def read(self, actor: Actor, query: RetentionPreviewQuery) -> RetentionPreview:
        """One page of what falls due until `before`; the first page has the totals.

        Raises InvalidRequest for a bad cursor.
        """
        until = query.before or self._ports.clock.now() + _AHEAD
        after = _place(query.cursor) if query.cursor else PARTS[0]
        own, rows, totals = actor.end_user_id, list["FallingDueRow"](), None
        end: PreviewPlace | None = None
        if own is None or query.end_user_id in (None, own):
            of = (actor.world_id, until, own or query.end_user_id)
            async with self._ports.database.acquire() as connection:
                rows, end = await _rows(connection, *of, after, query.limit + 1)
                totals = None if query.cursor else await _totals(connection, *of)
        shown = rows[: query.limit]
        if len(rows) > len(shown):
            end = _place_of(shown[-1])
        return RetentionPreview(
            before=timestamp(until),
            totals=totals,
            data=[falling_due(row) for row in shown],
            has_more=end is not None,
            next_cursor=None if end is None else _cursor(end),
        )


async def _rows(
    connection: Connection,
    world_id: int,
    until: datetime,
    end_user_id: str | None,
    after: PreviewPlace,
    limit: int,
) -> tuple[list[FallingDueRow], PreviewPlace | None]:
    """At most `limit` rows, and where the search for them ended early; None: at the end of the list.

    A search ends early, perhaps with fewer rows, if very many recordings are not listed.
    """
    rows: list[FallingDueRow] = []
    at = next(
        place for place, part in enumerate(PARTS) if (part.kind, part.scope) == (after.kind, after.scope)
    )
    of = (world_id, until, end_user_id)
    for part in (after, *PARTS[at + 1 :]):
        rows += await preview_queries.list_some(connection, *of, part, limit - len(rows))
        if len(rows) == limit:
            break
        end = await preview_queries.find_end(connection, *of, part)
        if end is not None:
            return rows, end
    return rows, None


async def _totals(
    connection: Connection, world_id: int, until: datetime, end_user_id: str | None
) -> FallingDueTotals:
    counted: dict[ErasedKind, list[FallingDueSumRow]] = {kind: [] for kind in KINDS}
    for part in PARTS:
        counted[part.kind].append(
            await preview_queries.sum_of(connection, world_id, until, end_user_id, part)
        )
    return FallingDueTotals(
        recording=total_of(counted["recording"]),
        audio=total_of(counted["audio"]),
        complete=all(each.is_complete for sums in counted.values() for each in sums),
    )


def _place_of(row: FallingDueRow) -> PreviewPlace:
    return PreviewPlace(
        row.kind, SCOPES[row.source], row.source, row.subject_id, row.received_at, row.recording_id
    )


def _cursor(at: PreviewPlace) -> str:
    return write_cursor(_LIST, at.received_at, f"{at.kind}__{at.level}__{at.subject_id}__{at.recording_id}")


def _place(cursor: str) -> PreviewPlace:
    """The place that a cursor names. Raises InvalidRequest for a cursor of another list."""
    received_at, text = read_cursor(cursor, _LIST)
    parts = text.split("__")
    if len(parts) != 4 or parts[0] not in KINDS or parts[1] not in get_args(Level):
        raise InvalidRequest("This list did not issue this cursor.", param="cursor")
    kind, level, subject_id, recording_id = parts
    return PreviewPlace(
        cast("ErasedKind", kind),
        SCOPES[cast("Level", level)],
        cast("Level", level),
        subject_id,
        received_at,
        recording_id,
    )
