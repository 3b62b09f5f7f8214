"""How a device takes firmware: what it downloads must be what it was offered, byte for byte."""

from __future__ import annotations

import hashlib
import zlib
from random import Random

from lapel.simulate.caller import Caller
from lapel.simulate.device import Device
from lapel.simulate.wire import Manifest

_FAILS = 0.05  # of all updates, for reasons of the device


async def take(caller: Caller, device: Device, offer: Manifest, dice: Random) -> str | None:
    """Downloads and installs; the next heartbeat tells how it went. What is wrong with the file, or None.

    Raises CallFailed when the link does not answer.
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


def _fault_of(offer: Manifest, file: bytes) -> str | None:
    if len(file) != offer.bin_file_size_bytes:
        return f"{len(file)} bytes instead of {offer.bin_file_size_bytes}"
    if hashlib.sha256(file).hexdigest() != offer.bin_sha256:
        return "another SHA-256 than offered"
    if f"{zlib.crc32(file):08x}" != offer.bin_crc32:
        return "another CRC-32 than offered"
    return None
