"""About the least that can take a heartbeat: raw ASGI, a dict of tokens, one asyncpg upsert, msgspec.

A dict in memory identifies the device. No router, no commands, no updates, no diagnostics, no episodes, no
configuration, no distinct errors, no request ids, no metrics.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from benchmarks.peers.bare import Connection

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive, Scope, Send

_UPSERT = """
INSERT INTO sketch (id, battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm,
    firmware_version, recording_state, last_heartbeat_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET battery_percent = excluded.battery_percent,
    storage_used_mb = excluded.storage_used_mb, storage_total_mb = excluded.storage_total_mb,
    signal_strength_dbm = excluded.signal_strength_dbm, firmware_version = excluded.firmware_version,
    recording_state = excluded.recording_state, last_heartbeat_at = excluded.last_heartbeat_at
"""


class Beat(msgspec.Struct):
    """The body of a heartbeat."""

    battery_percent: int
    storage_used_mb: int
    storage_total_mb: int
    signal_strength_dbm: int
    firmware_version: str
    device_state: str
    pending_recordings: int
    flags: int
    connection_type: list[str]


class State(msgspec.Struct):
    """The part of a heartbeat that is stored as JSON."""

    device_state: str
    pending_recordings: int
    flags: int
    connection_type: list[str]


class Answer(msgspec.Struct):
    """The body of an answer."""

    status: str = "ok"
    commands: list[str] = []
    ota: str | None = None
    config_revision: int = 0
    accepted_event_ids: list[str] = []


class Bare:
    """The ASGI application."""

    def __init__(self) -> None:
        tokens = Path(os.environ["BENCH_TOKENS"]).read_text(encoding="ascii").split()
        self._devices = {
            f"Bearer {token}".encode(): f"dev_{number:024}" for number, token in enumerate(tokens, start=1)
        }
        self._decode = msgspec.json.Decoder(Beat).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await receive()
            self.pool = await asyncpg.create_pool(
                os.environ["BENCH_DATABASE_URL"],
                min_size=2,
                max_size=10,
                connection_class=Connection,
                init=_register_json,
            )
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.pool.close()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            device = None
            for name, value in scope["headers"]:
                if name == b"authorization":
                    device = self._devices.get(value)
            message = await receive()
            status, body = await self._answer(scope["path"], device, message.get("body", b""))
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send(
                {"type": "http.response.start", "status": status, "headers": headers, "trailers": False}
            )
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, path: str, device: str | None, content: bytes) -> tuple[int, bytes]:
        if device is None:
            return 401, b"{}"
        if path != "/v1/devices/me/heartbeat":
            return 404, b"{}"
        told = self._decode(content)
        state = State(told.device_state, told.pending_recordings, told.flags, told.connection_type)
        await self.store(
            (
                device,
                told.battery_percent,
                told.storage_used_mb,
                told.storage_total_mb,
                told.signal_strength_dbm,
                told.firmware_version,
                self._encode(state).decode(),
                datetime.now(UTC),
            )
        )
        return 200, self._encode(Answer())

    async def store(self, row: tuple[object, ...]) -> None:
        """Store one heartbeat."""
        await self.pool.execute(_UPSERT, *row)


async def _register_json(connection: asyncpg.Connection) -> None:
    """Sends and reads jsonb as text, as Lapel does."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")


app = Bare()
