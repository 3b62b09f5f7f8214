"""Which addresses outbound calls may reach: public ones by https, those of named networks also by http and at
any port."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.outbound.addresses import Address, Network, special_use, translated, unmapped
from lapel.foundation.outbound.bad_ports import BAD_PORTS

if TYPE_CHECKING:
    from lapel.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRefusal:
    """Why a call may not reach an address, and the remedy. `use`: what a special address is for."""

    why: str
    remedy: str
    use: str | None = None

    def sentences(self, subject: str, *, with_use: bool) -> str:
        """The refusal in words. `with_use`: with what the address is for.

        A tenant who wrote a name must not learn the use, because names tell about the operator's network.
        """
        use = f" ({self.use})" if with_use and self.use else ""
        return f"{subject} {self.why}{use}. {self.remedy}"


def port_refusal(port: int) -> AddressRefusal | None:
    """Why no call uses this port; None if calls may. Calls to named networks use any port."""
    if port not in BAD_PORTS:
        return None
    return AddressRefusal(
        why=f"is called at port {port}, where services listen that do not speak HTTP",
        remedy="Use another port, such as 443.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundPolicy:
    """`networks`: what the operator opens to outbound calls (LAPEL_OUTBOUND_NETWORKS)."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> OutboundPolicy:
        """The policy that the settings describe."""
        return cls(networks=settings.outbound_networks)

    def refusal(self, address: Address, *, secure: bool, port: int) -> AddressRefusal | None:
        """Why a call may not reach this address at this port; None if it may. `secure`: by https.

        An address with a zone (`%eth0`) is always refused. An address of a named NAT64 network is judged by
        the IPv4 address inside: to name this network does not open all private IPv4 addresses behind it.
        """
        use, named = special_use(address), self._names(address)
        inner = translated(address)
        if named and inner is not None:
            return self.refusal(inner, secure=secure, port=port)
        if use is not None and not named:
            return AddressRefusal(
                why="is not public",
                use=use,
                remedy="The operator may name its network in LAPEL_OUTBOUND_NETWORKS.",
            )
        if not secure and not named:
            return AddressRefusal(
                why="is called by http:// and is in no network of LAPEL_OUTBOUND_NETWORKS",
                remedy="Use https://.",
            )
        return None if named else port_refusal(port)

    def _names(self, address: Address) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            return False
        inner = unmapped(address)
        return any(inner in network for network in self.networks)
