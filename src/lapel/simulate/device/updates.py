"""Firmware updates of a device: the downloaded file must match the offer byte for byte."""

from __future__ import annotations

import hashlib
import zlib
from random import Random

from lapel.simulate.client.caller import Caller
from lapel.simulate.client.wire import ManifestReply
from lapel.simulate.device.device import SimulatedDevice

_FAILS = 0.05  # share of all updates that fail on the device


async def take(caller: Caller, device: SimulatedDevice, offer: ManifestReply, dice: Random) -> str | None:
    """Downloads and installs firmware; the next heartbeat reports the result.

    Returns the fault of the file; None if the file is as offered. Raises CallFailed when the link is not
    answered with 200.
    """
    file = await caller.get("firmware", offer.download_url)
    wrong = _fault_of(offer, file)
    if wrong is not None:
        device.failure = (offer.assignment_id, wrong)
    elif dice.random() < _FAILS:
        device.failure = (offer.assignment_id, "the simulated flash is worn out")
    else:
        device.version, device.update = offer.version, offer.assignment_id
    return wrong


def _fault_of(offer: ManifestReply, file: bytes) -> str | None:
    if len(file) != offer.bin_file_size_bytes:
        return f"{len(file)} bytes instead of {offer.bin_file_size_bytes}"
    if hashlib.sha256(file).hexdigest() != offer.bin_sha256:
        return "another SHA-256 than offered"
    if f"{zlib.crc32(file):08x}" != offer.bin_crc32:
        return "another CRC-32 than offered"
    return None
