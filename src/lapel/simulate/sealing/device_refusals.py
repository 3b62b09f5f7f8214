"""The reasons for which a device refuses a document, with the codes that devices report."""

from __future__ import annotations

import enum


class RefusalCode(enum.IntEnum):
    """The result codes of a device (16 bits) that this one uses."""

    UNSUPPORTED_VERSION = 0x01
    LENGTH = 0x02
    NON_CANONICAL = 0x03
    SIGNATURE = 0x04
    ENVIRONMENT = 0x05
    EXPIRED = 0x06
    IDENTITY = 0x08
    BINDING = 0x09
    RECORDING = 0x0A
    STORAGE = 0x0B
    DOWNGRADE = 0x0C
    NO_AUTHORIZATION = 0x0D
    RECEIPT = 0x10
    REPLAY_CONFLICT = 0x13


class DeviceRefusal(Exception):
    """The device refuses a document. The message names the code and what is wrong."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code.name.lower()} ({code:#04x}): {detail}")
        self.code = code


def insist(is_right: bool, code: RefusalCode, detail: str) -> None:
    """Raises DeviceRefusal unless the condition holds."""
    if not is_right:
        raise DeviceRefusal(code, detail)
