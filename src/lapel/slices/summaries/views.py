"""Converts rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.slices.summaries.templates.builtin import NAMES
from lapel.slices.summaries.wire import Summary, SummaryError, SummaryWarning

if TYPE_CHECKING:
    from lapel.slices.summaries.rows import SummaryRow

_decode_warnings = msgspec.json.Decoder(list[SummaryWarning]).decode


def summary_of(row: SummaryRow) -> Summary:
    """The object. The stored JSON of the output is sent unchanged."""
    error = None
    if row.error_code is not None:
        error = SummaryError(code=row.error_code, message=row.error_message or "")
    return Summary(
        id=row.id,
        project_id=row.project_id,
        recording_id=row.recording_id,
        transcription_id=row.transcription_id,
        status=row.status,
        template_id=row.template_id,
        template=None if row.template_id is None else NAMES.get(row.template_id),
        template_version=row.template_version,
        custom_prompt=row.custom_prompt,
        provider=row.provider,
        model=row.model,
        output=None if row.output is None else msgspec.Raw(row.output),
        warnings=_decode_warnings(row.warnings),
        error=error,
        error_message=None if error is None else error.message,
        started_at=timestamp_or_none(row.started_at),
        completed_at=timestamp_or_none(row.completed_at),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )
