"""Which IP addresses are public: reachable over the internet, and not part of a private network.

Sources: the IANA special-purpose address registries (RFC 6890, RFC 8190), and the RFC beside each network.
`ipaddress` alone is not enough: in Python 3.11, `is_global` is true for 64:ff9b::a9fe:a9fe (NAT64 of
169.254.169.254) and for 2002:7f00:1:: (6to4 of 127.0.0.1).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = tuple(
    (IPv4Network(network), use)
    for network, use in (
        ("0.0.0.0/8", "this network, RFC 791"),
        ("10.0.0.0/8", "private, RFC 1918"),
        (
            "100.64.0.0/10",
            "shared by a provider's customers, RFC 6598",
        ),  # 100.100.100.200: Alibaba's metadata
        ("127.0.0.0/8", "loopback, RFC 1122"),
        ("168.63.129.16/32", "metadata of Azure"),  # the one metadata address outside of special networks
        ("169.254.0.0/16", "link-local, RFC 3927"),  # 169.254.169.254: metadata of most clouds
        ("172.16.0.0/12", "private, RFC 1918"),
        ("192.0.0.0/24", "IETF protocols, RFC 6890"),  # 192.0.0.192: Oracle's metadata
        ("192.0.2.0/24", "documentation, RFC 5737"),
        ("192.88.99.0/24", "6to4 relays, RFC 7526"),
        ("192.168.0.0/16", "private, RFC 1918"),
        ("198.18.0.0/15", "benchmarks, RFC 2544"),
        ("198.51.100.0/24", "documentation, RFC 5737"),
        ("203.0.113.0/24", "documentation, RFC 5737"),
        ("224.0.0.0/4", "multicast, RFC 5771"),
        ("255.255.255.255/32", "broadcast, RFC 919"),
        ("240.0.0.0/4", "reserved, RFC 1112"),
    )
)

_SPECIAL_V6 = tuple(
    (IPv6Network(network), use)
    for network, use in (
        ("::/128", "unspecified, RFC 4291"),
        ("::1/128", "loopback, RFC 4291"),
        ("::/96", "IPv4-compatible, RFC 4291"),
        ("64:ff9b::/96", "NAT64, RFC 6052"),
        ("64:ff9b:1::/48", "NAT64, RFC 8215"),
        ("100::/64", "discard, RFC 6666"),
        ("2001::/32", "Teredo, RFC 4380"),
        ("2001:2::/48", "benchmarks, RFC 5180"),
        ("2001:10::/28", "ORCHID, RFC 4843"),
        ("2001:20::/28", "ORCHID, RFC 7343"),
        ("2001::/23", "IETF protocols, RFC 2928"),
        ("2001:db8::/32", "documentation, RFC 3849"),
        ("2002::/16", "6to4, RFC 3056"),
        ("3fff::/20", "documentation, RFC 9637"),
        ("5f00::/16", "segment routing, RFC 9602"),
        ("fc00::/7", "unique-local, RFC 4193"),  # fd00:ec2::254 and fd20:ce::254: metadata of AWS and Google
        ("fe80::/10", "link-local, RFC 4291"),
        ("fec0::/10", "site-local, RFC 3879"),
        ("ff00::/8", "multicast, RFC 4291"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
# IANA has opened only this network for global unicast (RFC 4291, section 2.4, and its IPv6 address space).
_GLOBAL_V6 = IPv6Network("2000::/3")


def unmapped(address: Address) -> Address:
    """The IPv4 address inside an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2); else `address`."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if inner is None else inner


def translated(address: Address) -> IPv4Address | None:
    """The IPv4 address that a NAT64 gateway reaches for 64:ff9b::/96 (RFC 6052); None for other addresses."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def special_use(address: Address) -> str | None:
    """What an address that is not public is for, such as `private, RFC 1918`; None for a public one.

    An IPv4-mapped address is judged by the IPv4 address inside, because a system connects to that.
    """
    address = unmapped(address)
    if isinstance(address, IPv4Address):
        return next((use for network, use in _SPECIAL_V4 if address in network), None)
    if address.scope_id is not None:
        return "of one network interface, RFC 4007"
    use = next((use for network, use in _SPECIAL_V6 if address in network), None)
    if use is None and address not in _GLOBAL_V6:
        return "not assigned, RFC 4291"
    return use
