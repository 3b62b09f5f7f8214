"""The events of this slice: each is published once per summary."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

from lapel.foundation.database import outbox
from lapel.slices.summaries.rows import SummaryRow
from lapel.slices.summaries.views import summary_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.summaries.wire import Status, Summary

_SAMPLE = (
    b'{"overview":"This is a sample.","key_points":[],"action_items":[],"participants":[],"decisions":[],'
    b'"evidence":{"overview":[[{"start_ms":0,"end_ms":1800}]],"key_points":[],"action_items":[],'
    b'"participants":[],"decisions":[]}}'
)
_SAMPLE_WARNINGS = b"[%b]" % b",".join(
    b'{"code":"empty_field","message":"`%b` is empty: nothing was found for it in the transcript.",'
    b'"field":"%b"}' % (name, name)
    for name in (b"key_points", b"action_items", b"participants", b"decisions")
)


def summary_body(summary: Summary) -> bytes:
    """The JSON of a summary.

    Its field `summary` holds the same fields again, without the output. If the JSON would exceed
    `outbox.MAX_DATA_BYTES`, the output is null.
    """
    return outbox.data_of(summary, "summary", ("output",))


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    world_id: int,
    kind: Literal["started", "completed", "failed"],
    summary: Summary,
    end_user_id: str,
) -> None:
    """Publish one event with the summary. `end_user_id`: that of the recording."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type=f"summary.{kind}",
        resource_id=summary.id,
        data=summary_body(summary),
        end_user_id=end_user_id,
    )


def _sample(ids: Ids, now: datetime, project_id: str, *, status: Status) -> outbox.EventSample:
    completed, failed = status == "completed", status == "failed"
    row = SummaryRow(
        id=ids.new("sum"),
        recording_id=ids.new("rec"),
        transcription_id=ids.new("txn"),
        status=status,
        template_id="tmpl_general_notes",
        template_version=1,
        custom_prompt=None,
        provider="gemini",
        model="extractive" if completed else None,
        output=_SAMPLE if completed else None,
        warnings=_SAMPLE_WARNINGS if completed else b"[]",
        error_code="transcript_too_short" if failed else None,
        error_message="The transcript has fewer than three words." if failed else None,
        started_at=now - timedelta(seconds=10),
        completed_at=now if completed or failed else None,
        created_at=now - timedelta(seconds=20),
        updated_at=now,
        project_id=project_id,
    )
    return outbox.EventSample(row.id, summary_body(summary_of(row)))


SAMPLES: Mapping[str, outbox.SampleMaker] = {
    "summary.started": partial(_sample, status="processing"),
    "summary.completed": partial(_sample, status="completed"),
    "summary.failed": partial(_sample, status="failed"),
}
