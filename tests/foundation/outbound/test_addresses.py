"""Which addresses are public, compared with the IANA registries as they are written on iana.org."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.outbound.addresses import Address, special_use, unmapped


def words(text: str) -> list[str]:
    return text.split()


# IANA IPv4 Special-Purpose Address Registry, what is not globally reachable there; and Multicast (RFC 5771).
NOT_PUBLIC_V4 = words("""
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
255.255.255.255/32 168.63.129.16/32
""")
# IANA IPv6 Special-Purpose Address Registry, and the prefixes of the IPv6 address space outside of 2000::/3.
NOT_PUBLIC_V6 = words("""
::1/128 ::/128 ::/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/32 2001:2::/48
2001:10::/28 2001:20::/28 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
400::/6 800::/5 1000::/4 4000::/3 6000::/3 8000::/3 a000::/3 c000::/3 e000::/4 f000::/5 f800::/6 fe00::/9
""")
# Blocks that IANA has given to the regional registries.
PUBLIC_V6 = ["2400::/12", "2600::/12", "2610::/23", "2620::/23", "2800::/12", "2a00::/12", "2c00::/12"]


def within(text: str) -> st.SearchStrategy[int]:
    network = ip_network(text)
    return st.integers(int(network.network_address), int(network.broadcast_address))


def is_public(address: Address) -> bool:
    return special_use(address) is None


@given(st.sampled_from(NOT_PUBLIC_V4).flatmap(within))
def test_no_ipv4_address_of_a_special_network_is_public(number: int) -> None:
    assert not is_public(IPv4Address(number))
    assert not is_public(IPv6Address(0xFFFF_0000_0000 + number))  # IPv4-mapped


@given(st.integers(0, 2**32 - 1))
def test_all_other_ipv4_addresses_are_public(number: int) -> None:
    address = IPv4Address(number)
    special = any(address in ip_network(each) for each in NOT_PUBLIC_V4)
    assert is_public(address) is not special
    assert is_public(IPv6Address(0xFFFF_0000_0000 + number)) is not special


@given(st.sampled_from(NOT_PUBLIC_V6).flatmap(within))
def test_no_ipv6_address_of_a_special_network_is_public(number: int) -> None:
    assert not is_public(IPv6Address(number))


@given(st.sampled_from(PUBLIC_V6).flatmap(within))
def test_ipv6_addresses_of_registries_are_public(number: int) -> None:
    assert is_public(IPv6Address(number))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_is_reached_through_a_translated_one(number: int) -> None:
    for carrier in ("64:ff9b::", "64:ff9b:1::", "::"):
        assert not is_public(IPv6Address(int(IPv6Address(carrier)) + number))
    assert not is_public(IPv6Address((0x2002 << 112) + (number << 80)))  # 6to4


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("169.254.169.254", "link-local"),  # AWS, Google, Azure, DigitalOcean
        ("100.100.100.200", "shared by a provider's customers"),  # Alibaba
        ("192.0.0.192", "IETF protocols"),  # Oracle
        ("168.63.129.16", "metadata of Azure"),
        ("fd00:ec2::254", "unique-local"),  # AWS
        ("fd20:ce::254", "unique-local"),  # Google
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("255.255.255.255", "broadcast"),
        ("fe80::1%eth0", "of one network interface"),
        ("2600::1%1", "of one network interface"),
    ],
)
def test_metadata_and_disguises_are_not_public(text: str, use: str) -> None:
    assert (special_use(ip_address(text)) or "").startswith(use)


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "2606:4700:4700::1111"])
def test_known_public_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


def test_a_mapped_address_is_the_one_inside() -> None:
    assert unmapped(ip_address("::ffff:10.0.0.1")) == ip_address("10.0.0.1")
    assert unmapped(ip_address("2606::1")) == ip_address("2606::1")
