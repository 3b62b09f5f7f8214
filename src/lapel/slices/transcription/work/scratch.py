"""Audio on this machine's disk while steps work on it: fetched once, decoded once, removed after use.

A place is the folder of one audio. Between two steps it stays only while the next step of the same work waits
in the queue and may be done here. If a process is killed, the next one on this machine adopts the places with
decoded audio that unfinished work needs. The erasure ledger lists every place: from before its first byte is
written until after its last byte is removed (erasure/copies.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.outages import OUTAGES
from lapel.foundation.queue.expected_faults import tell_fault
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.foundation.workers.private_folder import PrivateFolder, private_file, remove
from lapel.slices.transcription.speech.failures import Gone, SpeechError, TryAgain
from lapel.slices.transcription.work import work_queries
from lapel.slices.transcription.work.lease import LEASE
from lapel.slices.transcription.work.scratch_place import ScratchPlace, Stay, check_room, decoded_audio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from lapel.foundation.database.pool import Database
    from lapel.foundation.storage.client import ObjectStore
    from lapel.slices.erasure.service import LocalCopies
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.work.scratch_place import DecodedAudio

# Objects are read in ranges, because a single stream would stay open as long as a slow disk writes.
_RANGE_BYTES = 8 * 1024 * 1024
# Most places that are kept for their next step; more would only fill the disk.
_KEPT = 4
_LOOK_SECONDS = 5.0
# Rounds between two sweeps of the folders of killed processes.
_SWEEP_EVERY = 12
_DATABASE_FAULTS = (Unavailable, asyncpg.PostgresError)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Scratch:
    """The places of this process."""

    def __init__(
        self,
        root: Path,
        store: ObjectStore,
        database: Database,
        copies: LocalCopies,
        *,
        look_seconds: float = _LOOK_SECONDS,
        leaving: Callable[[Path], Awaitable[None]] | None = None,
    ) -> None:
        """`root`: the folder for the places. `look_seconds`: longest time between two searches for deleted
        recordings; a notification starts a search at once.

        `leaving`: called with the path of an audio before the audio is removed, so that no process holds the
        file open.
        """
        self.root = root
        self._store = store
        self._database = database
        self._copies = copies
        self._look_seconds = look_seconds
        self._leaving = leaving
        self._beginning = asyncio.Lock()
        self._own: PrivateFolder | None = None
        self._places: dict[str, ScratchPlace] = {}
        self._at_work: dict[tuple[int, str], int] = {}
        # Places that are being removed, or could not be removed yet.
        self._unremoved: set[ScratchPlace] = set()
        # Recordings whose place is removed, but whose row in the ledger may still exist.
        self._unforgotten: set[tuple[int, str]] = set()
        self._registering = asyncio.Lock()
        self._look_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self) -> None:
        """Adopt decoded audio that killed processes left, remove their other files, and watch for deletions
        until `close`.

        If the folder is unusable, only logs this. Raises TryAgain after `close`.
        """
        try:
            await self._held()
        except OSError as error:  # all other work can be done without the folder
            _log.error("scratch.unusable", error=str(error))
        self._tasks.append(asyncio.create_task(self._look_for_ever(), name="scratch-look"))

    @asynccontextmanager
    async def working_on(self, world_id: int, recording_id: str) -> AsyncGenerator[Stay]:
        """Keep the recording's place to the end of the block, or longer if the stay says `next_waits`."""
        recording, stay = (world_id, recording_id), Stay()
        self._at_work[recording] = self._at_work.get(recording, 0) + 1
        try:
            yield stay
        finally:
            self._at_work[recording] -= 1
            if not self._at_work[recording]:
                del self._at_work[recording]
                await asyncio.shield(self._end_stay(recording, keep=stay.next_waits))

    @asynccontextmanager
    async def audio(self, audio: Audio) -> AsyncGenerator[ScratchPlace]:
        """Fetch an audio unless it is here already, and keep its place for the duration of the block.

        Raises Gone when the recording is deleted, StoreUnavailable when the store is away, and Unavailable
        when the database is away. Raises SpeechError when the store has no such object, OSError when the disk
        fails or has no room for the audio, and TryAgain after `close`.
        """
        place = await self._place(audio)
        place.users += 1
        try:
            async with place.lock:
                if not (place.fetched and place.file.exists()):
                    await self._fetch(audio, place)
                    place.fetched = True
            yield place
        finally:
            place.users -= 1
            if place.deleted or place.recording not in self._at_work:
                await asyncio.shield(self._end_stay(place.recording, keep=False))

    async def close(self) -> None:
        """Remove all places of this process."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        own, self._own, self._places, self._tasks = self._own, None, {}, []
        if own is None:
            return
        # First remove the files, then the rows, then the folder: its name leads the next process to the rows.
        try:
            await asyncio.to_thread(own.close, leave=True)
        except OSError as error:  # the rows stay, so that the ledger knows of the files that are left
            _log.error("scratch.not_removed", folder=str(own.path), error=str(error))
            return
        with contextlib.suppress(*_DATABASE_FAULTS):
            await self._copies.forget_holders([own.path.name])
            await asyncio.to_thread(own.close)

    async def _place(self, audio: Audio) -> ScratchPlace:
        own = await self._held()
        found = self._places.pop(audio.object_key, None)
        if found is not None and not found.users and not found.folder.exists():
            found = None
        if found is None:
            folder = own.path / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            recording = (audio.world_id, audio.recording_id)
            found = ScratchPlace(folder, recording, audio.object_key, audio.size)
        self._places[audio.object_key] = found  # the newest comes last
        return found

    async def _held(self) -> PrivateFolder:
        async with self._beginning:
            if self._closed:
                raise TryAgain("processing_error", "Audio is not fetched any more: we are shutting down.")
            if self._own is None or not self._own.is_locked:
                begun = self._own is None
                self._own = await asyncio.to_thread(self._begin)
                await self._take_over(self._own)
                if begun:
                    listening = self._copies.listen(self._own.path.name, self._look_now.set)
                    self._tasks.append(asyncio.create_task(listening, name="scratch-listen"))
            return self._own

    def _begin(self) -> PrivateFolder:
        try:
            if self._own is None:
                return PrivateFolder(self.root, inherits=True)
            self._own.lock()
        except PermissionError as error:
            raise PermissionError(f"{error}; set LAPEL_SCRATCH_DIR to another folder") from error
        return self._own

    async def _take_over(self, own: PrivateFolder) -> None:
        """Adopt the decoded audio of killed processes; remove their other files, then their rows and folders.

        Their rows stay until this process has rows of its own for what it adopts. If this process is killed
        in between, the next one finds everything as it was.
        """
        try:
            await self._adopt(own)
        except _DATABASE_FAULTS as error:  # it is unknown which places may stay
            tell_fault(_log, "scratch.not_adopted", error, of_driver=True)
        finally:
            await asyncio.to_thread(own.empty_inherited)
        if own.left:
            try:
                await self._copies.forget_holders(sorted(own.left))
            except _DATABASE_FAULTS as error:
                tell_fault(_log, "scratch.not_forgotten", error, of_driver=True)
            else:
                await asyncio.to_thread(own.forget_left)

    async def _adopt(self, own: PrivateFolder) -> None:
        """Adopt places of killed processes whose work is unfinished: the newest, until `_KEPT` are idle."""
        found = await asyncio.to_thread(lambda: decoded_audio(own.inherited))
        if not found:
            return
        recordings = [record.recording for _, record in found]
        async with self._database.acquire() as connection:
            unfinished = await work_queries.waiting(connection, recordings, recordings)
        room = _KEPT - sum(self._is_idle(key) for key in self._places)
        chosen: dict[str, tuple[Path, DecodedAudio]] = {}
        for folder, record in found:
            is_new = record.object_key not in self._places and record.object_key not in chosen
            if len(chosen) < room and is_new and record.recording in unfinished:
                chosen[record.object_key] = (folder, record)
        for folder, record in reversed(chosen.values()):
            await self._adopt_place(own, folder, record)
        await self._forget()
        _log.info("scratch.adopted", places=sum(key in self._places for key in chosen), found=len(found))

    async def _adopt_place(self, own: PrivateFolder, folder: Path, record: DecodedAudio) -> None:
        """Move a place into the own folder, unless its recording is deleted. Raises Unavailable when the
        database is away."""
        async with self._registering:
            self._unforgotten.add(record.recording)
            if not await self._copies.register(own.path.name, *record.recording):
                return
            with contextlib.suppress(OSError):
                place = ScratchPlace(own.adopt(folder), record.recording, record.object_key, record.size)
                place.fetched, place.facts = True, record.facts
                place.leased_until = time.monotonic() + 2 * LEASE.total_seconds()
                self._places[record.object_key] = place
                self._unforgotten.discard(record.recording)

    async def _fetch(self, audio: Audio, place: ScratchPlace) -> None:
        await self._register(place)
        try:
            await asyncio.to_thread(check_room, place.folder, audio.size)
            with private_file(place.file) as file:
                for start in range(0, audio.size, _RANGE_BYTES):
                    if place.deleted:
                        raise Gone
                    length = min(_RANGE_BYTES, audio.size - start)
                    chunk = await self._store.get_range(audio.object_key, start, length)
                    if len(chunk) != length:
                        raise StoreUnavailable(f"the store gave {len(chunk)} of {length} bytes")
                    await asyncio.to_thread(file.write, chunk)
            await self._register(place)  # it may have been deleted meanwhile
        except ObjectMissing as error:
            raise SpeechError(
                "processing_error", "The audio's object is not in the store; see the reconciler's findings."
            ) from error
        except OSError as error:
            if is_disk_full(error):  # free the space of the part that was written
                place.file.unlink(missing_ok=True)
            raise

    async def _register(self, place: ScratchPlace) -> None:
        """Tell the ledger that the recording's audio is here.

        Raises Gone when the recording is deleted, Unavailable when the database is away.
        """
        own = await self._held()
        async with self._registering:
            self._unforgotten.discard(place.recording)
            if not await self._copies.register(own.path.name, *place.recording):
                place.deleted = True
                raise Gone

    async def _end_stay(self, recording: tuple[int, str], *, keep: bool) -> None:
        """Remove the unused places of the recording.

        With `keep`, remove only those that are deleted. If more than `_KEPT` places of all recordings are
        then idle, remove the oldest of them too.
        """
        own = [key for key, place in self._places.items() if place.recording == recording]
        if keep:
            await self._remove([key for key in own if self._places[key].deleted])
            idle = [key for key in self._places if self._is_idle(key)]
            await self._remove(idle[: max(0, len(idle) - _KEPT)])
        else:
            await self._remove(own)

    def _is_idle(self, key: str) -> bool:
        return not self._places[key].users and self._places[key].recording not in self._at_work

    async def _remove(self, keys: list[str]) -> None:
        """Remove those of these places that are unused: first the files, then the rows."""
        # All are popped before the first await. During an await, a place could be released or used again.
        removed = [self._places.pop(key) for key in keys if not self._places[key].users]
        self._unremoved.update(removed)
        await self._empty(removed)

    async def _empty(self, places: list[ScratchPlace]) -> None:
        """Remove the files of places, then their rows. If a file cannot be removed, its row stays, so that
        the ledger waits. The next look tries again."""
        for place in places:
            if self._leaving is not None:
                await self._leaving(place.file)
            try:
                await asyncio.to_thread(remove, place.folder)
            except OSError as error:
                _log.error("scratch.not_removed", folder=str(place.folder), error=str(error))
                continue
            self._unremoved.discard(place)
            self._unforgotten.add(place.recording)
        await self._forget()

    async def _forget(self) -> None:
        async with self._registering:
            here = {place.recording for place in (*self._places.values(), *self._unremoved)}
            for recording in self._unforgotten - here:
                try:
                    if self._own is not None:
                        await self._copies.forget(self._own.path.name, *recording)
                except _DATABASE_FAULTS as error:  # the next look tries again
                    tell_fault(_log, "scratch.not_forgotten", error, of_driver=True)
                    return
                self._unforgotten.discard(recording)

    async def _look_for_ever(self) -> None:
        """Remove the audio of deleted recordings, and audio that no step waits for.

        A look begins at each notification; without one, every `look_seconds`.
        """
        rounds = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._look_now.wait()
            self._look_now.clear()
            rounds += 1
            try:
                await self._look()
                if rounds % _SWEEP_EVERY == 0 and self._own is not None:
                    async with self._beginning:  # no place begins while others are adopted
                        await asyncio.to_thread(self._own.sweep)
                        await self._take_over(self._own)
            except _DATABASE_FAULTS as error:  # without the database it is unknown which places may stay
                OUTAGES.tell(_log, "scratch.not_looked", error)
                await self._remove([key for key in self._places if self._is_idle(key)])
            except OSError as error:
                tell_fault(_log, "scratch.not_swept", error, of_driver=True)
            except Exception:  # noqa: BLE001 - nothing else removes deleted audio
                _log.exception("scratch.look_failed")

    async def _look(self) -> None:
        if self._own is None:
            return
        erased = await self._copies.renew(self._own.path.name)
        for place in self._places.values():
            place.deleted = place.deleted or place.recording in erased
        idle = {key: self._places[key].recording for key in self._places if self._is_idle(key)}
        waiting: set[tuple[int, str]] = set()
        if idle:
            now = time.monotonic()
            adopted = [place.recording for place in self._places.values() if place.leased_until > now]
            async with self._database.acquire() as connection:
                waiting = await work_queries.waiting(connection, list(idle.values()), adopted)
        await self._remove(
            [
                key
                for key, recording in idle.items()
                if key in self._places
                and self._is_idle(key)
                and (recording in erased or recording not in waiting)
            ]
        )
        await self._empty([*self._unremoved])
