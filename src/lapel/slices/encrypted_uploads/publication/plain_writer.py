"""Writes the plain audio of a staged object to the store, verified."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage.client import LARGE_RANGE_BYTES
from lapel.foundation.storage.errors import ObjectDiffers, ObjectMissing, StoreUnavailable
from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.publication.opening import Opening
from lapel.slices.encrypted_uploads.publication.transfer import HELPERS, Transfer
from lapel.slices.encrypted_uploads.sessions.issuance import recipient_context
from lapel.slices.recordings.service import PlainAudio

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.publication.publication_queries import PublishableRow
    from lapel.slices.recordings.service import PlainAudioPlace

T = TypeVar("T")

# Objects that one process opens at once.
THREADS = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PlainWriter:
    """Writes plain audio. Its threads begin with the first one."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        # Two pools, because a thread that opens waits for its helpers.
        self._opening = ThreadPoolExecutor(THREADS, thread_name_prefix="publication")
        self._helpers = ThreadPoolExecutor(THREADS * HELPERS, thread_name_prefix="publication-helper")

    def close(self) -> None:
        """End the threads."""
        self._opening.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)

    async def write(self, session: PublishableRow, place: PlainAudioPlace) -> PlainAudio:
        """Open the session's staged object into `place`, where its SHA-256 is compared with the manifest's.

        The store compares it before the object is visible; a store that does not say so is read back. Raises
        Refused when something is wrong with the document or the staged object, and SealBroken when the
        session's key was sealed under a secret that is not loaded; then there is no object. Raises
        StoreUnavailable when the store fails.
        """
        if session.manifest is None or session.sealed_recipient_key is None:
            raise AssertionError("a session that accepted a manifest has it, and its key")
        private_key = self._ports.sealer.open(
            session.sealed_recipient_key, recipient_context(session.world_id, session.id)
        )
        expected = manifest.parse(session.manifest)
        data_key = manifest.open_key(session.manifest, private_key, session.upload_authorization)

        opening = partial(Opening, expected, data_key)
        transfer = self._transfer(session, opening(hashes_plaintext=False))
        try:
            written = await self._in_thread(transfer, partial(transfer.write, place.object_key))
        except ObjectMissing:
            raise _gone() from None
        except (Refused, ObjectDiffers):
            raise await self._judge(session, opening()) from None
        crash_point("encrypted-publish:written")
        size, sha256 = expected.plaintext_length, expected.plaintext_sha256.hex()
        if not written.is_compared and await self._read_back(place) != (size, sha256):
            await self.discard(place)
            raise await self._judge(session, opening())
        return PlainAudio(place=place, size=size, sha256=sha256, duration_ms=written.duration_ms)

    async def discard(self, place: PlainAudioPlace) -> None:
        """Delete an object that nothing refers to. If the store fails, the reconciler's sweep deletes it."""
        try:
            await self._ports.store.delete(place.object_key)
        except StoreUnavailable as error:
            _log.warning("publication.left_for_sweep", error=str(error))

    def _transfer(self, session: PublishableRow, opening: Opening) -> Transfer:
        return Transfer(self._ports.streams, self._helpers, session.staging_key, opening)

    async def _in_thread(self, transfer: Transfer, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._opening, work)
        except asyncio.CancelledError:
            transfer.stop()
            raise

    async def _judge(self, session: PublishableRow, opening: Opening) -> Refused | StoreUnavailable:
        """The reason why an upload could not be published, after another reading that compares everything.

        The first reading leaves the plain text's hash to the store, which compares it last, so it may not
        have found the first fault in the contract's order. If the staged object as a whole is another one
        than the manifest's, that is the reason.
        """
        transfer = self._transfer(session, opening)
        try:
            await self._in_thread(transfer, transfer.verify)
        except ObjectMissing:
            return _gone()
        except Refused as refused:
            if not opening.whole_is_unknown or await self._is_staged_as_said(session, opening):
                return refused
            return Refused("digest_mismatch", "The staged object has another SHA-256 than the manifest says.")
        return StoreUnavailable(f"the store has other bytes of {session.staging_key} than it gave before")

    async def _is_staged_as_said(self, session: PublishableRow, opening: Opening) -> bool:
        try:
            _, sha256 = await self._ports.store.sha256_of(session.staging_key)
        except ObjectMissing:
            raise _gone() from None
        return sha256 == opening.expected.ciphertext_sha256.hex()

    async def _read_back(self, place: PlainAudioPlace) -> tuple[int, str]:
        try:
            return await self._ports.store.sha256_of(place.object_key, range_bytes=LARGE_RANGE_BYTES)
        except ObjectMissing:
            raise StoreUnavailable(f"the store has lost {place.object_key}, which was just written") from None


def _gone() -> Refused:
    return Refused("integrity_failed", "The staged object is not in the store any more.")
