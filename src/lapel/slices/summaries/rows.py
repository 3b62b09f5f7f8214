"""The rows of this slice's statements."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.summaries.wire import Code, Slot, Status


class SummaryRow(msgspec.Struct, frozen=True):
    """A summary. `output`: JSON, as in answers; None before the summary is completed. `warnings`: JSON."""

    id: str
    recording_id: str
    transcription_id: str
    status: Status
    template_id: str | None
    template_version: int | None
    custom_prompt: str | None
    provider: Slot
    model: str | None
    output: bytes | None
    warnings: bytes
    error_code: Code | None
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    project_id: str


class ChangedSummaryRow(SummaryRow, frozen=True):
    """A summary whose status was just changed, with the end user of its recording."""

    end_user_id: str


class ListedSummaryRow(SummaryRow, frozen=True):
    """A row of a list. `bytes_before`: bytes of the texts in the rows before this row. `followed`: whether
    the query found another row after this row."""

    bytes_before: int
    followed: bool


class TemplateRow(msgspec.Struct, frozen=True):
    """A template of a project, with its newest version. `output_schema`: JSON, as the client sent it."""

    id: str
    name: str
    description: str | None
    version: int
    instructions: str
    output_schema: bytes
    created_at: datetime
    updated_at: datetime


class TemplateVersionRow(msgspec.Struct, frozen=True):
    """One version of a template of a project."""

    instructions: str
    output_schema: bytes


class WorkRow(msgspec.Struct, frozen=True):
    """A summary whose work is leased to a worker. `deaths`: how many workers died while they were at it.
    `failures`: how many tries failed."""

    world_id: int
    id: str
    recording_id: str
    failures: int
    deaths: int
    failing_since: datetime | None
    lease: str


class LackingSummaryJobsRow(msgspec.Struct, frozen=True):
    """How many jobs the free work lacks. `world_id`, `id`: what the new jobs name."""

    lacking: int
    world_id: int
    id: str
