"""Which addresses outbound calls may reach: public ones by https, those of named networks also by http."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.outbound.addresses import Address, Network, special_use, unmapped

if TYPE_CHECKING:
    from lapel.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPolicy:
    """`networks`: what the operator opens to outbound calls (LAPEL_OUTBOUND_NETWORKS)."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> OutboundPolicy:
        """The policy that the settings describe."""
        return cls(networks=settings.outbound_networks)

    def refusal(self, address: Address, *, secure: bool) -> str | None:
        """Why a call may not reach this address, as the end of a sentence; None if it may.

        `secure`: by https. An address with a zone (`%eth0`) is refused always.
        """
        use = special_use(address)
        named = self._names(address)
        if use is not None and not named:
            return f"is not public ({use})"
        if not secure and not named:
            return "is reached by http://, which is allowed only to the networks of LAPEL_OUTBOUND_NETWORKS"
        return None

    def _names(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            return False
        inner = unmapped(address)
        return any(inner in network for network in self.networks)
