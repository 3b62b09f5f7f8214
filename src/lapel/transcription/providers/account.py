"""What we are to a provider; what its refusals mean for the work, and which of its words are shown."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

import aiohttp
import msgspec

from lapel.transcription.failures import SpeechError, TryAgain
from lapel.transcription.plain_text import plain

_MOST_CHARACTERS = 200
# May well be answered otherwise a little later: time-out, conflict, too early, too many requests.
_PASSING = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a provider is, and what it is told of us.

    `name`: as people call it. `slot`: whom it answers for. `headers` carry the key.
    """

    name: str
    slot: str
    base_url: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

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

    def refused(
        self, status: int, content: bytes, pause: str | None, now: datetime, longest_pause: float
    ) -> SpeechError | TryAgain:
        """For an answer other than 2xx. `pause`: its Retry-After."""
        text = self.clean(text_of(content))
        told = f"{self.name} answered {status}" + (f": {text.rstrip('.')}." if text else ".")
        if status in _PASSING or status >= 500:
            return TryAgain("provider_error", told, after=retry_after(pause, now, longest_pause))
        setting = f"lapel providers set {self.slot}"
        if status in (401, 403):
            told += f" It refuses the key; set another one: `{setting} --key-file FILE`."
        elif 300 <= status < 400:
            told += f" A redirect is not followed: the key would go with it. Set the right address: \
`{setting} --base-url URL`."
        elif status == 404:
            told += f" Check model and address: `{setting} --model NAME`, `{setting} --base-url URL`."
        return SpeechError("provider_error", told)


def text_of(content: bytes) -> str:
    """What an error's body says to people: the message in JSON, wherever it is put, or plain text."""
    try:
        told: object = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = content.decode(errors="replace")
        return "" if text.lstrip().startswith("<") else text  # a page for a browser
    for _ in range(4):
        if isinstance(told, list) and told:
            told = cast("list[object]", told)[0]
        elif isinstance(told, dict):
            named = cast("dict[str, object]", told)
            keys = ("err_msg", "message", "error", "detail", "details", "msg")
            told = next((named[key] for key in keys if named.get(key)), None)
        else:
            break
    return told if isinstance(told, str) else ""


def retry_after(value: str | None, now: datetime, longest: float) -> float | None:
    """Seconds that a Retry-After (seconds, or an HTTP date) asks for, at most `longest`; None without one."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:  # "-0000": UTC, from an unknown place
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), longest) if math.isfinite(seconds) else None


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
