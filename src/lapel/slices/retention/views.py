"""From rows to the structs of the preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.slices.retention.wire import FallingDue, FallingDueTotal, RetentionRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.slices.retention.rows import FallingDueRow, FallingDueSumRow


def falling_due(row: FallingDueRow) -> FallingDue:
    """One recording or audio that falls due."""
    return FallingDue(
        recording_id=row.recording_id,
        end_user_id=row.end_user_id,
        kind=row.kind,
        falls_due_at=timestamp(row.falls_due_at),
        held=row.held,
        rule=RetentionRule(source=row.source, days=row.days, in_force_at=timestamp(row.in_force_at)),
    )


def total_of(sums: Iterable[FallingDueSumRow]) -> FallingDueTotal:
    """The total of the parts of one kind."""
    counted = list(sums)
    return FallingDueTotal(
        count=sum(each.count for each in counted), bytes=sum(each.bytes for each in counted)
    )
