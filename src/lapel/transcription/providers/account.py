"""An account at a provider (address, key, headers), and which of the provider's words are shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from lapel.transcription.failures import SpeechError, TryAgain
from lapel.transcription.plain_text import plain

_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a provider is, and the headers of every request to it, which carry the key.

    `name`: for people. `slot`: the name that it answers for. `gives_up`: seconds after which the provider
    itself ends the work on a file, with 504.
    """

    name: str
    slot: str
    base_url: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    gives_up: float | None = None

    def clean(self, text: str) -> str:
        """Somebody else's words, fit to be shown: short, on one line, without the key."""
        if self.key:
            text = text.replace(self.key, "…")
        text = plain(text)
        return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS].rstrip() + "…"

    def unreadable(self, detail: str) -> TryAgain:
        """For an answer that is not as the provider's documentation says."""
        return TryAgain("provider_error", f"{self.name}'s answer cannot be read: {self.clean(detail)}.")

    def failed(self, detail: str, *, again: bool = False) -> SpeechError | TryAgain:
        """For a failure that the provider tells of when it has tried."""
        message = f"{self.name} could not transcribe it: {self.clean(detail)}"
        return TryAgain("provider_error", message) if again else SpeechError("provider_error", message)


def broken(fault: aiohttp.ClientError) -> str:
    """What happened to a connection, in words; without addresses, which are the operator's business."""
    match fault:
        case aiohttp.ClientConnectorDNSError():
            return "cannot be reached: its name is not known here"
        case aiohttp.ClientConnectorCertificateError():
            return "cannot be trusted: its certificate does not hold"
        case aiohttp.ClientSSLError():
            return "cannot be reached: no TLS connection comes about"
        case aiohttp.ClientConnectorError():
            # Its own text names the address.
            return f"cannot be reached ({os.strerror(fault.errno) if fault.errno else 'no connection'})"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "broke its answer off"
        case aiohttp.ClientResponseError():
            return "does not answer as HTTP does"
        case _:
            return "closed the connection"
