"""The address of a client, also behind proxies that the operator trusts."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from ipaddress import IPv4Network

    from lapel.foundation.core.asgi import Scope

_Address: TypeAlias = IPv4Address | IPv6Address
# Hops of one header that are looked at; a longer header is a client's invention.
_MOST_HOPS = 32
_THIS_MACHINE = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class ClientAddresses:
    """Finds the address that a request came from.

    `X-Forwarded-For` is believed only as far as trusted proxies wrote it: the address is the rightmost hop
    that is no trusted proxy. A client can invent only hops further to the left. Each proxy may add a line of
    its own; the lines are one list (RFC 9110, section 5.3). A proxy on this machine is trusted.
    """

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        """`trusted`: the networks of the operator's other proxies."""
        self._trusted = (*_THIS_MACHINE, *trusted)

    def of(self, scope: Scope, names: Container[bytes]) -> str | None:
        """The client's address; None for a client of a Unix socket. `names`: of the request's headers."""
        client = scope.get("client")
        if client is None:
            return None
        if b"x-forwarded-for" not in names:
            return _shown(client[0])
        peer = _parsed(client[0])
        if not self._trusts(peer):
            return _shown(client[0])
        found = peer
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(b",".join(lines).decode("latin-1").split(",")[-_MOST_HOPS:]):
            address = _parsed(_without_port(hop.strip()))
            if address is None:  # what stands further to the left cannot be attributed to a proxy
                break
            found = address
            if not self._trusts(address):
                break
        return str(found)

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> _Address | None:
    """An address, IPv4 also where it was written as a mapped IPv6 address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=4096)
def _shown(peer: str) -> str:
    """The address of a peer as logs show it."""
    return str(_parsed(peer) or peer)


def _without_port(hop: str) -> str:
    """A hop such as `192.0.2.1:4711` or `[2001:db8::1]:4711`, which some proxies write, without its port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
