"""Rows that the statements of retention give."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from lapel.foundation.core.clock import EPOCH
from lapel.slices.configuration.service import Level
from lapel.slices.recordings.service import AgeScope, ErasedKind


class RuleRow(msgspec.Struct, frozen=True):
    """One field of one override. `may_have_due`: whether anything may be due because of it."""

    level: Level
    subject_id: str
    may_have_due: bool


class DueRecordingRow(msgspec.Struct, frozen=True):
    """A recording that is due, and its place in the order of the search."""

    id: str
    end_user_id: str
    received_at: datetime


class SearchEndRow(msgspec.Struct, frozen=True):
    """The last recording at which a search of the run has looked."""

    received_at: datetime
    id: str


class PreviewEndRow(msgspec.Struct, frozen=True):
    """The last recording at which a search of the preview has looked, and the override that found it."""

    level: Level
    subject_id: str
    received_at: datetime
    recording_id: str


class FallingDueRow(msgspec.Struct, frozen=True):
    """A recording or an audio, the time at which it falls due, and the override that decides.

    `subject_id` and `received_at` are its place in the list.
    """

    recording_id: str
    end_user_id: str
    kind: ErasedKind
    falls_due_at: datetime
    source: Level
    days: int
    in_force_at: datetime
    held: bool
    subject_id: str
    received_at: datetime


class FallingDueSumRow(msgspec.Struct, frozen=True):
    """A number of recordings or audio, and their bytes. `is_complete`: there are no more."""

    count: int
    bytes: int
    is_complete: bool


class PreviewPlace(msgspec.Struct, frozen=True):
    """A place in the preview's list: the row before it. An empty `level` is the beginning of a part."""

    kind: ErasedKind
    scope: AgeScope
    level: Level | Literal[""] = ""
    subject_id: str = ""
    received_at: datetime = EPOCH
    recording_id: str = ""
