"""A TCP proxy before a PostgreSQL, which may lead to another one, and reads how sessions begin."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
# PgBouncer keeps these for each client, and refuses a session with any other parameter ("Generic settings" in
# its documentation, ignore_startup_parameters).
KNOWN = {
    "user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings",
    "application_name", "replication", "options",
}  # fmt: skip


class DatabaseProxy:
    """Leads new sessions to the socket in `target`; sessions that are there stay where they are.

    `startups`: the parameters with which each session began.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.startups: list[dict[str, str]] = []
        self.port = 0
        self._sessions: set[asyncio.Task[None]] = set()

    @property
    def dsn(self) -> str:
        """The database `lapel` behind the proxy."""
        return f"postgresql://lapel@127.0.0.1:{self.port}/lapel"

    async def end_sessions(self) -> None:
        """End all sessions, as the end of their server does."""
        for session in list(self._sessions):
            session.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await session

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._pass_on(reader, writer)
        finally:
            self._sessions.discard(session)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        code, content = await _first_message(reader)
        if code == SSL_REQUEST:
            writer.write(b"N")
            code, content = await _first_message(reader)
        if code != CANCEL_REQUEST:
            words = [word.decode() for word in content.split(b"\0")]
            self.startups.append(dict(zip(words[0:-2:2], words[1:-1:2], strict=True)))
        server_reader, server_writer = await asyncio.open_unix_connection(self.target / ".s.PGSQL.5432")
        server_writer.write(struct.pack("!II", len(content) + 8, code) + content)
        pumps = [
            asyncio.create_task(_pump(reader, server_writer)),
            asyncio.create_task(_pump(server_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.transport.abort()


async def _first_message(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The code and the content of a message that has no type, as sessions begin with."""
    length, code = struct.unpack("!II", await reader.readexactly(8))
    return code, await reader.readexactly(length - 8)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def database_proxy(target: Path) -> AsyncGenerator[DatabaseProxy]:
    """A proxy before the server with this folder of sockets, until the block ends."""
    proxy = DatabaseProxy(target)
    server = await asyncio.start_server(proxy.connected, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end_sessions()
        await server.wait_closed()
