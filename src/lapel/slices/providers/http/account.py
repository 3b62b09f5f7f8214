"""A provider account (URL, key, headers). Error text of the provider is shortened and the key removed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from lapel.foundation.text_cleaning import plain
from lapel.slices.providers.provider_failures import ProviderAway, ProviderFailed

_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The URL of a provider, and the headers of every request. The headers carry the key.

    `name`: the provider's name in messages. `slot`: the slot that the provider answers. `gives_up`: seconds
    after which the provider itself ends the work on a file, with 504.
    """

    name: str
    slot: str
    base_url: str
    key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    gives_up: float | None = None

    def clean(self, text: str) -> str:
        """The provider's text in a form that may be shown: at most 200 characters, one line, no key."""
        if self.key:
            text = text.replace(self.key, "…")
        text = plain(text)
        return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS].rstrip() + "…"

    def unreadable(self, detail: str) -> ProviderAway:
        """The error for an answer that does not match the provider's documentation."""
        return ProviderAway(f"{self.name}'s answer cannot be read: {self.clean(detail)}.", how="unreadable")

    def forbidden(self) -> ProviderFailed:
        """The error for an address that the outbound policy does not allow. It does not tell the address."""
        return ProviderFailed(
            f"{self.name} was not called: its address is neither public and called by https://, nor in a "
            "network of LAPEL_OUTBOUND_NETWORKS.",
            remedy="Name the network in this setting, or set another address: "
            f"`lapel providers set {self.slot} --base-url URL`.",
        )


def broken(fault: aiohttp.ClientError) -> str:
    """What happened to a connection, in words. The words hold no address, because only the operator may see
    addresses."""
    match fault:
        case aiohttp.ClientConnectorDNSError():
            return "cannot be reached: its name cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            return "cannot be trusted: its certificate is not valid"
        case aiohttp.ClientSSLError():
            return "cannot be reached: no TLS connection could be made"
        case aiohttp.ClientConnectorError():
            # The error's own text names the address.
            return f"cannot be reached ({os.strerror(fault.errno) if fault.errno else 'no connection'})"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "broke off its answer"
        case aiohttp.ClientResponseError():
            return "does not answer as HTTP does"
        case _:
            return "closed the connection"
