"""Rows that the statements of projects, worlds and keys give."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.slices.projects.scopes import Scope
from lapel.slices.projects.wire import Kind


class ProjectRow(msgspec.Struct, frozen=True):
    """A project."""

    id: str
    organization_id: str
    name: str
    created_at: datetime


class WorldRow(msgspec.Struct, frozen=True):
    """The live or the test world of a project."""

    id: int
    project_id: str
    mode: Mode


class KeyRow(msgspec.Struct, frozen=True):
    """A key without its secret. The key may work or may have ended."""

    id: str
    kind: Kind
    name: str | None
    hint: str
    scopes: list[Scope]
    end_user_id: str | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    rotated_to: str | None
    created_at: datetime
