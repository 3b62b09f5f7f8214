"""What tests of sessions do to rows, and the sessions as they are under another clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from lapel import app
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from tests.support.sealed_uploads import Json

Service = TypeVar("Service")
SET_SESSION = "UPDATE encrypted_upload_sessions SET {} WHERE id = $1"
SET_RECORDING = "UPDATE recordings SET {} WHERE id = $1"
READ = "SELECT * FROM encrypted_upload_sessions WHERE id = $1"


async def set_session(ports: Ports, session: Json, **values: str) -> None:
    """Write columns of a session: words, or expressions that begin with `now()`."""
    await _set(ports, SET_SESSION, session["session_id"], values)


async def set_recording(ports: Ports, recording_id: str, **values: str) -> None:
    """Write columns of a recording; see `set_session`."""
    await _set(ports, SET_RECORDING, recording_id, values)


async def _set(ports: Ports, statement: str, row_id: str, values: dict[str, str]) -> None:
    written = ", ".join(
        f"{name} = {value}" if value.startswith("now()") else f"{name} = '{value}'"
        for name, value in values.items()
    )
    async with ports.database.acquire() as connection:
        await connection.execute(statement.format(written), row_id)


async def row_of(ports: Ports, session: Json) -> Json:
    """The session's row."""
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(READ, session["session_id"])
    assert row is not None
    return dict(row)


def later(ports: Ports, by: timedelta, kind: type[Service]) -> Service:
    """A service as it will be after some time."""
    return app.open_services(replace(ports, clock=ManualClock(ports.clock.now() + by)))[kind]
