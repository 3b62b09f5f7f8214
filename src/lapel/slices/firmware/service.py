"""The firmware functions for other slices: the offer to a device, and the results that devices report."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.slices.firmware import events
from lapel.slices.firmware.assignments import assignment_state_queries, failures
from lapel.slices.firmware.assignments.assignment_queries import OFFER_OF_BEAT, OFFER_WAITING
from lapel.slices.firmware.assignments.assignment_state_queries import OFFERED
from lapel.slices.firmware.assignments.service import Offers
from lapel.slices.firmware.releases import Releases, link_to
from lapel.slices.firmware.rollouts.service import Rollouts
from lapel.slices.firmware.rollouts.sweeps import Sweeps
from lapel.slices.firmware.wire import Manifest

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports

__all__ = ["OFFERED", "OFFER_OF_BEAT", "OFFER_WAITING", "Firmware", "Manifest", "Offer"]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `OFFER_OF_BEAT`, decoded from the JSON of PostgreSQL's `to_jsonb`."""

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
    """The parts of the slice for routes and jobs, and the functions for heartbeats.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.releases = Releases(ports)
        self.offers = Offers(ports)
        self.rollouts = Rollouts(ports)
        self.sweeps = Sweeps(ports)

    def manifest(self, offer: Offer, now: datetime) -> Manifest:
        """The answer to a device with an open offer. Signs a link, without a request to the store.

        Raises StoreUnavailable without valid credentials to sign with.
        """
        link = link_to(self._ports, offer.bin_object_key, offer.model, offer.version, now)
        return Manifest(
            assignment_id=offer.assignment_id,
            firmware_release_id=offer.firmware_release_id,
            version=offer.version,
            model=offer.model,
            bin_sha256=offer.bin_sha256,
            bin_file_size_bytes=offer.bin_file_size_bytes,
            bin_crc32=offer.bin_crc32,
            # A sequence of 0, which earlier versions accepted, is left out.
            release_sequence=offer.release_sequence or msgspec.UNSET,
            allow_downgrade=offer.allow_downgrade if offer.release_sequence else msgspec.UNSET,
            download_url=link.url,
            expires_at=link.expires_at,
            deadline_at=timestamp(offer.deadline_at),
        )

    async def applied(self, world_id: int, device_id: str, version: str) -> None:
        """Store a device's report that it runs `version`, if this version is on offer. May be repeated."""
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            row = await assignment_state_queries.apply(connection, world_id, device_id, version, now)
            if row is not None:
                await events.publish(connection, self._ports.ids, now, "ota.applied", [row])

    async def failed(self, world_id: int, device_id: str, assignment_id: str, error_message: str) -> None:
        """Store a device's report that an update failed, if the assignment is open. May be repeated."""
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            row = await assignment_state_queries.fail(
                connection, world_id, device_id, assignment_id, error_message, now
            )
            if row is not None:
                await failures.failed(connection, self._ports.ids, now, [row])

    async def cancel_of_devices(
        self, connection: Connection, world_id: int, device_ids: list[str], now: datetime
    ) -> None:
        """Cancel the open updates of devices, in the transaction that deletes the devices."""
        await assignment_state_queries.cancel(
            connection, world_id, device_ids, now, "The device was deleted."
        )
