"""Firmware as other slices use it: what a heartbeat answers with, and what it reports."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.firmware import events, queries
from lapel.firmware.payloads import ADVANCE, RolloutJob
from lapel.firmware.queries import OPEN_OFFER
from lapel.firmware.wire import Manifest
from lapel.foundation.clock import timestamp
from lapel.foundation.jobs import enqueue

if TYPE_CHECKING:
    from lapel.foundation.database import Connection
    from lapel.foundation.kit import Kit

__all__ = ["OPEN_OFFER", "Firmware", "Manifest", "Offer"]

# Long enough for 256 MiB over a slow radio; a heartbeat brings a new link anyway.
LINK_SECONDS = 3600


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `OPEN_OFFER`: its columns one by one, or as the JSON object that PostgreSQL makes of it."""

    assignment_id: str
    status: Literal["pending", "delivered"]
    firmware_release_id: str
    deadline_at: datetime
    version: str
    model: str
    bin_object_key: str
    bin_sha256: str
    bin_file_size_bytes: int
    bin_crc32: str
    release_sequence: int | None
    allow_downgrade: bool


class Firmware:
    """Releases, offers and rollouts."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    def manifest(self, offer: Offer, now: datetime) -> Manifest:
        """What a device is told of its open offer; no word to the store.

        Raises StoreUnavailable without valid credentials.
        """
        link = self._kit.links.get(
            offer.bin_object_key,
            now=now,
            expires_in=LINK_SECONDS,
            content_type="application/octet-stream",
            disposition=f'attachment; filename="{offer.model}-{offer.version}.bin"',
        )
        return Manifest(
            assignment_id=offer.assignment_id,
            firmware_release_id=offer.firmware_release_id,
            version=offer.version,
            model=offer.model,
            bin_sha256=offer.bin_sha256,
            bin_file_size_bytes=offer.bin_file_size_bytes,
            bin_crc32=offer.bin_crc32,
            release_sequence=msgspec.UNSET if offer.release_sequence is None else offer.release_sequence,
            allow_downgrade=msgspec.UNSET if offer.release_sequence is None else offer.allow_downgrade,
            download_url=link.url,
            expires_at=timestamp(link.expires_at),
            deadline_at=timestamp(offer.deadline_at),
        )

    async def applied(self, world_id: int, device_id: str, version: str) -> None:
        """A device reports that it runs `version`; nothing unless that is what it is offered. Repeatable."""
        now = self._kit.clock.now()
        async with self._kit.database.transaction() as connection:
            row = await queries.apply(connection, world_id, device_id, version, now)
            if row is not None:
                await events.publish(connection, self._kit.ids, now, "ota.applied", [row])

    async def failed(self, world_id: int, device_id: str, assignment_id: str, error_message: str) -> None:
        """A device reports that an update failed; nothing when that is not open any more. Repeatable."""
        now = self._kit.clock.now()
        async with self._kit.database.transaction() as connection:
            row = await queries.fail(connection, world_id, device_id, assignment_id, error_message, now)
            if row is None:
                return
            await events.publish(connection, self._kit.ids, now, "ota.failed", [row])
            if row["rollout_id"] is not None:
                job = RolloutJob(world_id, row["rollout_id"])
                await enqueue(connection, ADVANCE, job, dedupe=job.rollout_id)

    async def cancel_of_devices(
        self, connection: Connection, world_id: int, device_ids: list[str], now: datetime
    ) -> None:
        """What happens to their updates when devices are deleted; in that transaction."""
        await queries.cancel(connection, world_id, device_ids, now, "The device was deleted.")
