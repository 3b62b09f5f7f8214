"""Audio on this machine's own disk while it is worked on: fetched once, decoded once, let go for others."""

from __future__ import annotations

import asyncio
import errno
import secrets
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.transcription.engine.messages import pcm_name
from lapel.transcription.failures import SpeechError, TryAgain
from lapel.transcription.own_folder import OwnFolder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from lapel.foundation.storage.store import ObjectStore
    from lapel.recordings.service import Audio

# Read in ranges, never in one stream that a slow disk would hold open.
_RANGE_BYTES = 8 * 1024 * 1024
# The next step of the same recording usually follows at once; more than these few would only fill the disk.
_KEPT = 4


@dataclass(slots=True)
class Place:
    """A folder with one audio: `file` as it was uploaded and, once somebody decoded it, `pcm`."""

    folder: Path
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    fetched: bool = False

    @property
    def file(self) -> Path:
        """The audio as it was uploaded."""
        return self.folder / "audio"

    @property
    def pcm(self) -> Path:
        """Its samples."""
        return pcm_name(self.folder)


class Scratch:
    """The places of this process. What a killed one left is removed by the next."""

    def __init__(self, root: Path, store: ObjectStore) -> None:
        self._root = root
        self._store = store
        self._beginning = asyncio.Lock()
        self._own: OwnFolder | None = None
        self._places: dict[str, Place] = {}

    @asynccontextmanager
    async def audio(self, audio: Audio) -> AsyncGenerator[Place]:
        """The audio, fetched, for as long as the block lasts.

        Raises StoreUnavailable, SpeechError when the object is not there, TryAgain when the disk is full.
        """
        place = await self._place(audio.object_key)
        place.users += 1
        try:
            async with place.lock:
                if not (place.fetched and place.file.exists()):
                    await self._fetch(audio, place)
                    place.fetched = True
            yield place
        finally:
            place.users -= 1
            await asyncio.shield(self._let_go(_KEPT))

    async def close(self) -> None:
        """Remove everything of this process."""
        if self._own is not None:
            await asyncio.to_thread(self._own.close)
        self._own, self._places = None, {}

    async def _place(self, key: str) -> Place:
        async with self._beginning:
            if self._own is None or not self._own.is_held:
                await asyncio.to_thread(self._begin)
        found = self._places.pop(key, None)
        if found is not None and not found.users and not found.folder.exists():
            found = None
        if found is None and self._own is not None:
            folder = self._own.path / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            found = Place(folder)
        if found is None:
            raise RuntimeError("the scratch folder was closed")
        self._places[key] = found  # the newest comes last
        return found

    def _begin(self) -> None:
        try:
            if self._own is None:
                self._own = OwnFolder(self._root)
            else:
                self._own.hold()
        except PermissionError as error:
            raise PermissionError(f"{error}; LAPEL_SCRATCH_DIR names another folder") from error

    async def _fetch(self, audio: Audio, place: Place) -> None:
        try:
            with place.file.open("wb") as file:
                for start in range(0, audio.size, _RANGE_BYTES):
                    length = min(_RANGE_BYTES, audio.size - start)
                    chunk = await self._store.get_range(audio.object_key, start, length)
                    if len(chunk) != length:
                        raise StoreUnavailable(f"the store gave {len(chunk)} of {length} bytes")
                    await asyncio.to_thread(file.write, chunk)
        except ObjectMissing as error:
            raise SpeechError(
                "processing_error", "The audio's object is not in the store; see the reconciler's findings."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            place.file.unlink(missing_ok=True)
            raise TryAgain("processing_error", "The worker's disk is full.", after=60) from error

    async def _let_go(self, kept: int) -> None:
        """Remove the oldest that nobody uses."""
        unused = [key for key, place in self._places.items() if not place.users]
        # All at once: while one is removed, others let go, too, or take one of these up again.
        for place in [self._places.pop(key) for key in unused[: max(0, len(unused) - kept)]]:
            await asyncio.to_thread(shutil.rmtree, place.folder, ignore_errors=True)
