"""Streams a staged object, opened, into its plain object, in bounded memory.

Three threads work on pieces that follow each other: one reads, one opens, one sends. Smaller pieces, and a
thread of its own for the hash, make it slower, because each thread waits for Python's lock after each call.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.core.crash_points import crash_point
from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.stored_object.opener import ROOM

if TYPE_CHECKING:
    from collections.abc import Generator

    from lapel.foundation.storage.streams import ObjectReader, ObjectStreams, ObjectUpload
    from lapel.slices.encrypted_uploads.publication.opening import Opening

# Bytes that are read at once; four times as many are in memory.
_PIECE = 4 * 1024 * 1024
# Threads that help each transfer: one reads, one sends.
HELPERS = 2


class TransferStopped(Exception):
    """The transfer was told to stop."""


class Transferred(NamedTuple):
    """`duration_ms`: of the audio. `is_compared`: the store compared the plain audio with its SHA-256."""

    duration_ms: int
    is_compared: bool


class Transfer:
    """One staged object on its way. Its methods block; `stop` may be called by another thread.

    `helpers`: HELPERS threads for each transfer.
    """

    def __init__(
        self, streams: ObjectStreams, helpers: ThreadPoolExecutor, staging_key: str, opening: Opening
    ) -> None:
        self._streams = streams
        self._helpers = helpers
        self._staging_key = staging_key
        self._opening = opening
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the transfer soon, with TransferStopped and without an object."""
        self._stopped.set()

    def verify(self) -> None:
        """Open the staged object, and write nothing. Raises what `write` raises."""
        with self._read() as staged:
            self._pass_on(staged, None)

    def write(self, key: str) -> Transferred:
        """Write the plain audio as the object `key`, which is visible only when all is right.

        Raises Refused for anything that is wrong with the staged object, ObjectMissing when it is gone,
        ObjectDiffers when the plain audio has another SHA-256 than the manifest says, StoreUnavailable when
        the store fails, and TransferStopped.
        """
        expected = self._opening.expected
        with (
            self._read() as staged,
            self._streams.write(key, expected.plaintext_length, expected.plaintext_sha256.hex()) as plain,
        ):
            last, duration_ms = self._pass_on(staged, plain)
            plain.send(last)
            return Transferred(duration_ms, plain.finish())

    @contextmanager
    def _read(self) -> Generator[ObjectReader]:
        with self._streams.read(self._staging_key) as staged:
            manifest.check_length(self._opening.expected, staged.size)
            yield staged

    def _pass_on(self, staged: ObjectReader, plain: ObjectUpload | None) -> tuple[memoryview, int]:
        """Send all plain text but the last, which is returned with the duration when everything is right."""
        sealed, filling = memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))
        coming = self._helpers.submit(staged.read_into, filling)
        opened, sent = bytearray(_PIECE + ROOM), bytearray(_PIECE + ROOM)
        last, sending = memoryview(b""), Future[None]()
        sending.set_result(None)
        while size := coming.result():
            sealed, filling = filling, sealed
            coming = self._helpers.submit(staged.read_into, filling)
            if self._stopped.is_set():
                raise TransferStopped
            sending.result()
            if plain is not None and last:
                sending = self._helpers.submit(plain.send, last)
            opened, sent = sent, opened
            last = memoryview(opened)[: self._opening.feed(sealed[:size], opened)]
            crash_point("encrypted-publish:opening")
        sending.result()
        return last, self._opening.finish()
