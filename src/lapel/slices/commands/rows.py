"""Rows that the statements of commands give. `params`, `result` and `error` are JSON texts."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.commands.wire import StoredStatus, Type


class CommandRow(msgspec.Struct, frozen=True):
    """A command."""

    id: str
    device_id: str
    end_user_id: str
    binding_generation: int
    type: Type
    status: StoredStatus
    params: str
    result: str | None
    error: str | None
    expires_at: datetime | None
    delivered_at: datetime | None
    executed_at: datetime | None
    created_at: datetime


class KeyedRow(CommandRow, frozen=True):
    """A command with an idempotency key.

    `same`: the repeated request asks for the same command. `present`: the command's end user is not deleted.
    """

    same: bool
    present: bool


class AddressedRow(CommandRow, frozen=True):
    """A command, and the serial number of its device."""

    serial_number: str


class ReportedRow(AddressedRow, frozen=True):
    """A command, and whether its row says the `same` as a report."""

    same: bool
