"""The cache of API keys, and revocations that take effect in every process at once.

A process may use a cached key only while its LISTEN connection is confirmed, and for
`CACHE_SECONDS` at most. The answer to a revocation waits until every caching process has confirmed
that it dropped the key, or until all earlier entries have expired, whichever is first.

Keys are announced by their ids and not by their hashes, because each process has hashes of its own.

Source: PostgreSQL's documentation of LISTEN and NOTIFY.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from datetime import timedelta
from hashlib import blake2s
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database

CACHE_SECONDS = 3.0
_CAPACITY = 10_000
# Older versions announce hashes on another channel. This version does not confirm them, so a process of an
# older version waits until all entries have expired.
_REVOKED = "lapel_revoked_keys"
_CONFIRMED = "lapel_revocation_confirmed"
_SEEN_EVERY_SECONDS = 10.0
_FORGOTTEN_AFTER = timedelta(minutes=1)

# These statements use the database's clock, because the clocks of machines may differ by more than
# `_FORGOTTEN_AFTER`.
SEEN = """
INSERT INTO key_caches (process_id, seen_at) VALUES ($1, now())
ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at
"""
GONE = "DELETE FROM key_caches WHERE process_id = $1 OR seen_at < now() - $2::interval"
ALIVE = "SELECT process_id FROM key_caches WHERE seen_at >= now() - $1::interval"
NOTIFY = "SELECT pg_notify($1, $2)"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class KeyCache:
    """Actors by the header that names their key.

    The cache keeps no key, but a hash of the header under a key of this process.
    """

    def __init__(self) -> None:
        self._state = blake2s(key=secrets.token_bytes(32))
        self._entries: dict[bytes, tuple[Actor, float]] = {}
        self._hashes: dict[str, bytes] = {}  # by key id; a key is cached with one form of the header
        self.confirmed = False

    def get(self, header: bytes) -> Actor | None:
        """The actor, if its entry has not expired and LISTEN is active."""
        if not self.confirmed:
            return None
        entry = self._entries.get(self._hash(header))
        if entry is None or entry[1] < time.monotonic():
            return None
        return entry[0]

    def put(self, header: bytes, actor: Actor, read_at: float, lives: float = CACHE_SECONDS) -> None:
        """Cache an actor that was read at `read_at` (monotonic seconds, taken **before** the read).

        `lives`: seconds until the key expires; the entry is kept for `CACHE_SECONDS` at most.
        """
        if len(self._entries) >= _CAPACITY:
            self.clear()
        header_hash = self._hash(header)
        self._entries[header_hash] = (actor, read_at + min(lives, CACHE_SECONDS))
        self._hashes[actor.id] = header_hash

    def drop(self, key_id: str) -> None:
        """Forget one key."""
        header_hash = self._hashes.pop(key_id, None)
        if header_hash is not None:
            self._entries.pop(header_hash, None)

    def clear(self) -> None:
        """Forget all keys."""
        self._entries.clear()
        self._hashes.clear()

    def _hash(self, header: bytes) -> bytes:
        state = self._state.copy()
        state.update(header)
        return state.digest()


class Revocations:
    """Notifies every caching process of revoked keys, and listens for keys that other processes revoke."""

    def __init__(self, database: Database, *, listen_dsn: str | None = None) -> None:
        self.cache = KeyCache()
        self._database = database
        self._listen_dsn = listen_dsn or database.dsn
        self._process = secrets.token_hex(8)
        self._waiting: dict[str, set[str]] = {}
        self._changed = asyncio.Event()
        # Grows with each revocation and each change of LISTEN. A key is cached only if this number stays the
        # same while the key is read.
        self.generation = 0
        self._task: asyncio.Task[None] | None = None
        self._confirming: set[asyncio.Task[None]] = set()
        self._others: dict[str, Callable[[str], None]] = {}

    def listen_also(self, channel: str, on_message: Callable[[str], None]) -> None:
        """Call `on_message` with the payload of each notification of another part's channel.

        It saves that part a connection. Its notifications must be few and small, so that no revocation waits
        behind them, and may be lost during an outage. When a process begins to listen, all processes get an
        empty payload: what the new one must know is sent again. Call this before `start`.
        """
        self._others[channel] = on_message

    async def start(self) -> None:
        """Begin to listen; until LISTEN is active the cache is empty and bypassed."""
        self._task = asyncio.create_task(self._listen_for_ever(), name="revocations")

    async def stop(self) -> None:
        """Stop listening and leave the list of caching processes."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._lost()

    async def announce(self, key_ids: Sequence[str]) -> None:
        """Notify all processes; call it after the commit. Returns when no process uses the keys any more.

        Raises Unavailable when the database is unavailable; other processes then stop using the keys within
        `CACHE_SECONDS`.
        """
        if not key_ids:
            return
        deadline = time.monotonic() + CACHE_SECONDS
        for each in key_ids:
            self._drop(each)
        if not self.cache.confirmed:  # no confirmation can reach us: wait until all entries have expired
            await self._notify_best(key_ids, "")
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
            return
        name = secrets.token_hex(8)
        try:
            await self._ask_others(key_ids, name, deadline)
        finally:
            self._waiting.pop(name, None)

    async def _ask_others(self, key_ids: Sequence[str], name: str, deadline: float) -> None:
        async with self._database.acquire() as connection:
            rows = await connection.fetch(ALIVE, _FORGOTTEN_AFTER)
        self._waiting[name] = {row["process_id"] for row in rows} - {self._process}
        await self._notify_best(key_ids, name)
        while self._waiting[name] and time.monotonic() < deadline:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                    await self._changed.wait()

    async def _notify_best(self, key_ids: Sequence[str], name: str) -> None:
        async with self._database.acquire() as connection:
            # A notification holds 8,000 bytes: 100 ids of at most 68 characters fit.
            for at in range(0, len(key_ids), 100):
                last = at + 100 >= len(key_ids)
                await connection.execute(
                    NOTIFY, _REVOKED, f"{name if last else ''}:{','.join(key_ids[at : at + 100])}"
                )

    async def _listen_for_ever(self) -> None:
        while True:
            try:
                await self._listen_once()
            except DATABASE_AWAY as error:
                OUTAGES.tell(_log, "revocations.listen_lost", error)
            except asyncpg.PostgresError as error:
                _log.warning("revocations.listen_failed", error=str(error))
            finally:
                self._lost()
            await asyncio.sleep(0.2)

    async def _listen_once(self) -> None:
        """Use one connection until it ends: listen, enable the cache, then report this process as alive every
        10 s."""
        connection: Connection = await asyncpg.connect(self._listen_dsn, timeout=5, command_timeout=5)
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: self._ended(ended))
            await connection.execute(SEEN, self._process)
            for channel in self._others:
                await connection.add_listener(channel, self._on_other)
                await connection.execute(NOTIFY, channel, "")
            await connection.add_listener(_REVOKED, self._on_revoked)
            await connection.add_listener(_CONFIRMED, self._on_confirmed)
            # A key that was read before LISTEN began may have been revoked since then, so the cache starts
            # empty.
            self.generation += 1
            self.cache.clear()
            self.cache.confirmed = True
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SEEN_EVERY_SECONDS):
                        await ended.wait()
                if not ended.is_set():
                    await connection.execute(SEEN, self._process)
        finally:
            self._lost()
            with contextlib.suppress(*DATABASE_AWAY, asyncpg.PostgresError):
                if not connection.is_closed():
                    await connection.execute(GONE, self._process, _FORGOTTEN_AFTER)
            with contextlib.suppress(*DATABASE_AWAY, asyncpg.PostgresError):
                await connection.close(timeout=1)

    def _ended(self, ended: asyncio.Event) -> None:
        self._lost()
        ended.set()

    def _lost(self) -> None:
        self.cache.confirmed = False
        self.cache.clear()
        self.generation += 1

    def _drop(self, key_id: str) -> None:
        self.generation += 1
        self.cache.drop(key_id)

    def _on_revoked(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        name, _, key_ids = str(payload).partition(":")
        for each in key_ids.split(","):
            self._drop(each)
        if name:
            task = asyncio.create_task(self._confirm(name))
            self._confirming.add(task)
            task.add_done_callback(self._confirming.discard)

    async def _confirm(self, name: str) -> None:
        # Without the confirmation the revoking request waits until our entries have expired, which is correct
        # too.
        with contextlib.suppress(Unavailable):
            async with self._database.acquire() as connection:
                await connection.execute(NOTIFY, _CONFIRMED, f"{name}:{self._process}")

    def _on_other(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._others[channel](str(payload))

    def _on_confirmed(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        name, _, process = str(payload).partition(":")
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.discard(process)
            self._changed.set()
