"""Copies of audio and transcripts that providers keep until they are deleted there, and their deletion.

A step stores a copy's id as soon as the provider returns the id (`remember_for`). `RemoteCopies.sweep`
deletes the copy after the step has ended. The sweep recognizes the end by the step's lease, even if the
worker was killed or the recording is gone. A failed deletion is logged, shown by `lapel doctor` and tried
again; it does not affect the transcript. docs/decisions/0006 gives the reasons.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.providers.service import RefusedForGood, SlotChoice, account_at
from lapel.slices.transcription.copies import copy_queries
from lapel.slices.transcription.providers.speech_failures import speech_failures
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.providers.protocol import Remember
    from lapel.slices.transcription.rows import ClaimRow, RemoteCopyRow

_AT_ONCE = 20
# Seconds for one deletion.
_LIMIT = 30.0
_LONGEST_PAUSE = timedelta(hours=1)
# Age of a copy at which a failed deletion is not tried again.
_GIVE_UP = timedelta(days=30)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def remember_for(ports: Ports, claim: ClaimRow, choice: SlotChoice) -> Remember:
    """A function that stores the ids of copies that a step's provider keeps.

    If an id cannot be stored, the id would be lost. So the function tries to delete the copy at once, and
    then raises the database's error, usually Unavailable.
    """

    async def remember(copy_id: str) -> None:
        try:
            async with ports.database.transaction() as connection:
                await copy_queries.insert(
                    connection, claim.world_id, choice, copy_id, (claim.id, claim.lease), ports.clock.now()
                )
        except Exception:
            try:
                await delete_copy(ports, choice, copy_id)
            except (SpeechError, TryAgain) as refused:
                _log.error(
                    "speech.copy_given_up", engine=choice.engine, slot=choice.slot, copy=copy_id,
                    error=refused.message,
                )  # fmt: skip
            raise

    return remember


async def delete_copy(ports: Ports, choice: SlotChoice, copy_id: str) -> None:
    """Delete a copy at its provider; a copy that is gone already counts as deleted.

    Raises SpeechError when the provider has no call that deletes, or refuses for good. Raises TryAgain when
    the deletion may succeed later.
    """
    from lapel.slices.providers.http.provider_client import Patience  # noqa: PLC0415
    from lapel.slices.transcription.providers import assemblyai, elevenlabs  # noqa: PLC0415  # HTTP is not small
    from lapel.slices.transcription.providers.speech_service import speech_service  # noqa: PLC0415

    if choice.engine not in ("assemblyai", "elevenlabs"):
        raise SpeechError("provider_error", f"{choice.engine} has no call that deletes.")
    adapter = assemblyai if choice.engine == "assemblyai" else elevenlabs
    patience = Patience(answer=_LIMIT, total=_LIMIT)
    account, policy = adapter.account_of(choice), OutboundPolicy.of(ports.settings)
    async with speech_service(account, ports.clock, patience, policy) as service:
        try:
            await service.tell("DELETE", adapter.copy_path(copy_id))
        except RefusedForGood as refused:
            if refused.status not in (404, 410):
                raise


class RemoteCopies:
    """Deletes the copies of all worlds."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def sweep(self) -> None:
        """Delete copies of ended steps, at most 20. Raises Unavailable when the database is away."""
        async with self._ports.database.transaction() as connection:
            rows = await copy_queries.claim(connection, _AT_ONCE, _LONGEST_PAUSE, _GIVE_UP)
        await asyncio.gather(*(self._delete(row) for row in rows))

    async def _delete(self, row: RemoteCopyRow) -> None:
        copy = (row.world_id, row.engine, row.copy_id)
        fault: str | None = None
        try:
            await delete_copy(self._ports, await self._choice(row), row.copy_id)
        except (SpeechError, TryAgain) as refused:
            fault = refused.message
        told = {"engine": row.engine, "slot": row.slot, "copy": row.copy_id, "error": fault}
        async with self._ports.database.transaction() as connection:
            if fault is None or row.is_old:
                await copy_queries.delete(connection, *copy)
            else:
                await copy_queries.put_fault(connection, *copy, fault)
        if fault is not None:
            log = _log.error if row.is_old else _log.warning
            log("speech.copy_given_up" if row.is_old else "speech.copy_not_deleted", **told)

    async def _choice(self, row: RemoteCopyRow) -> SlotChoice:
        """The world's account at the copy's engine and address.

        Raises SpeechError when the world has no such account any more, or when its key can no longer be read.
        """
        like = SlotChoice(slot=row.slot, engine=row.engine, base_url=row.base_url)
        with speech_failures():
            async with self._ports.database.acquire() as connection:
                choice = await account_at(connection, self._ports.sealer, row.world_id, like)
        if choice is None:
            raise SpeechError(
                "provider_error",
                f"No slot uses {row.engine} any more: delete the transcript {row.copy_id} in its account.",
            )
        return choice
