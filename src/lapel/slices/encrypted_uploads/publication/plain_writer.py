"""Writes the plain audio of a staged object to the store, verified, and reads it back."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage.client import LARGE_RANGE_BYTES
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.slices.encrypted_uploads.documents import manifest
from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.publication.opening import Opening
from lapel.slices.encrypted_uploads.sessions.issuance import recipient_context
from lapel.slices.recordings.service import PlainAudio

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.publication.publication_queries import PublishableRow
    from lapel.slices.recordings.service import PlainAudioPlace

# Objects that one process opens at once; each has one more thread for its hashes.
THREADS = 2

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PlainWriter:
    """Writes plain audio. Its threads begin with the first one."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        # Two pools, because a thread that opens waits for its hashes.
        self._opening = ThreadPoolExecutor(THREADS, thread_name_prefix="publication")
        self._hashing = ThreadPoolExecutor(THREADS, thread_name_prefix="publication-hash")

    def close(self) -> None:
        """End the threads."""
        self._opening.shutdown(wait=False, cancel_futures=True)
        self._hashing.shutdown(wait=False, cancel_futures=True)

    async def write(self, session: PublishableRow, place: PlainAudioPlace) -> PlainAudio:
        """Open the session's staged object into `place`, and read it back.

        Raises Refused when something is wrong with the document or the staged object, and SealBroken when the
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
        opening = Opening(expected, data_key, self._hashing)
        try:
            size = (await self._ports.store.head(session.staging_key)).size
            manifest.check_length(expected, size)
            duration_ms = await self._open(session, opening, place)
        except ObjectMissing:
            raise _gone() from None
        except Refused as refused:
            raise await self._judge(session, opening, expected.ciphertext_sha256, refused) from None
        crash_point("encrypted-publish:written")
        size, sha256 = await self._read_back(place)
        if (size, sha256) != (expected.plaintext_length, expected.plaintext_sha256.hex()):
            await self.discard(place)
            raise StoreUnavailable(f"the store returned other bytes of {place.object_key} than were written")
        crash_point("encrypted-publish:read-back")
        return PlainAudio(place=place, size=size, sha256=sha256, duration_ms=duration_ms)

    async def discard(self, place: PlainAudioPlace) -> None:
        """Delete an object that nothing refers to. If the store fails, the reconciler's sweep deletes it."""
        try:
            await self._ports.store.delete(place.object_key)
        except StoreUnavailable as error:
            _log.warning("publication.left_for_sweep", error=str(error))

    async def _open(self, session: PublishableRow, opening: Opening, place: PlainAudioPlace) -> int:
        """Open the staged object into `place`. Returns the duration in milliseconds.

        The object is complete when the block of `writing` ends, and that is after the verification.
        """
        loop = asyncio.get_running_loop()
        staged = self._ports.store.pieces(session.staging_key, session.ciphertext_length)
        async with aclosing(staged), self._ports.store.writing(place.object_key, read_back=True) as plain:
            async for piece in staged:
                opened = await loop.run_in_executor(self._opening, opening.feed, piece)
                crash_point("encrypted-publish:opening")
                for each in opened:
                    await plain.write(each)
            return await loop.run_in_executor(self._opening, opening.finish)

    async def _judge(
        self, session: PublishableRow, opening: Opening, expected: bytes, refused: Refused
    ) -> Refused:
        """The reason of a refusal. If the staged object as a whole is another one, that is the reason."""
        if not opening.whole_is_unknown:
            return refused
        try:
            _, sha256 = await self._ports.store.sha256_of(session.staging_key)
        except ObjectMissing:
            return _gone()
        if sha256 == expected.hex():
            return refused
        return Refused("digest_mismatch", "The staged object has another SHA-256 than the manifest says.")

    async def _read_back(self, place: PlainAudioPlace) -> tuple[int, str]:
        try:
            return await self._ports.store.sha256_of(place.object_key, range_bytes=LARGE_RANGE_BYTES)
        except ObjectMissing:
            raise StoreUnavailable(f"the store has lost {place.object_key}, which was just written") from None


def _gone() -> Refused:
    return Refused("integrity_failed", "The staged object is not in the store any more.")
