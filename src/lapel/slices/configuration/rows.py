"""Rows that the statements of the configuration give. `value` is JSON text."""

from __future__ import annotations

import msgspec

from lapel.slices.configuration.sections import Level


class OverrideRow(msgspec.Struct, frozen=True):
    """An override; a row of None is a subject to which no override applies."""

    level: Level | None
    section: str | None
    value: str | None


class OrganizationRow(msgspec.Struct, frozen=True):
    """An organization."""

    id: str
    name: str
