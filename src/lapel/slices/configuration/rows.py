"""Rows that the statements of the configuration give. `value` is JSON text."""

from __future__ import annotations

import msgspec

from lapel.slices.configuration.sections import Level


class OverrideRow(msgspec.Struct, frozen=True):
    """An override. A row of None means that no override applies to the subject."""

    level: Level | None
    section: str | None
    value: str | None


class OrganizationRow(msgspec.Struct, frozen=True):
    """An organization."""

    id: str
    name: str


class SubjectRow(msgspec.Struct, frozen=True):
    """The locked subject of an override. `end_user_id`: the end user who is the subject, or who wears the
    device; None: nobody."""

    end_user_id: str | None
