"""What a device says of itself: its 24 bytes of capabilities."""

from __future__ import annotations

import struct

import msgspec

from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.documents.layouts import must

LENGTH = 24
ENCODING = 1
PROFILE = 2  # of transfers: the first one in which recordings are sealed
BATCH = 0x7F  # all of these seven bits, for recordings that are sealed before they are sent
STREAMING = 0x80
CONTEXTS = 0x100
RECOVERY = 0x200
KNOWN = BATCH | STREAMING | CONTEXTS | RECOVERY

# Encoding u8, highest profile u8, length u16, flags u32, signed blob u16, manifest u16, payload u16,
# window u16, checkpoint interval u32, missing sequences u16, zero u16.
_STRUCT = struct.Struct("<BBHIHHHHIHH")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities of a device. Sizes are bytes."""

    highest_profile: int
    flags: int
    maximum_signed_blob: int
    maximum_manifest: int
    maximum_data_payload: int
    maximum_window_packets: int
    checkpoint_interval_blocks: int
    maximum_missing_sequences: int

    @property
    def batch(self) -> bool:
        """Can the device upload sealed recordings?"""
        return self.highest_profile >= PROFILE and self.flags & BATCH == BATCH

    @property
    def recovery(self) -> bool:
        """Can the device continue with the authorization of a recovered session?"""
        return self.batch and self.flags & RECOVERY != 0


def parse(data: bytes) -> Capabilities:
    """Raises Refused: `invalid_length`, `unsupported_version`, `noncanonical_encoding`."""
    if len(data) != LENGTH:
        raise Refused("invalid_length", f"Capabilities have {LENGTH} bytes, not {len(data)}.")
    encoding, profile, length, flags, blob, manifest, payload, window, interval, missing, zero = (
        _STRUCT.unpack(data)
    )
    if encoding != ENCODING:
        raise Refused("unsupported_version", f"The encoding {encoding} of capabilities is not known.")
    if length != LENGTH:
        raise Refused("invalid_length", f"Capabilities have {LENGTH} bytes, not {length}.")
    must(flags & ~KNOWN == 0, "Capabilities have a flag that is not defined.")
    must(zero == 0, "Capabilities end with bytes that are not zero.")
    return Capabilities(
        highest_profile=profile,
        flags=flags,
        maximum_signed_blob=blob,
        maximum_manifest=manifest,
        maximum_data_payload=payload,
        maximum_window_packets=window,
        checkpoint_interval_blocks=interval,
        maximum_missing_sequences=missing,
    )
