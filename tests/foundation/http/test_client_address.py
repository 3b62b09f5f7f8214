"""A client's address: of the connection, or of the hop before the proxies; never one that it invents."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.http.input.client_address import ClientAddresses

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def address(peer: str | None, *forwarded: str, trusted: Any = TRUSTED) -> str | None:
    """The address of a request from a peer with these lines of X-Forwarded-For."""
    headers = [(b"host", b"h"), *((b"x-forwarded-for", each.encode("latin-1")) for each in forwarded)]
    scope: Any = {"client": None if peer is None else (peer, 4711), "headers": headers}
    return ClientAddresses(trusted).of(scope, dict(headers))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours: its header says nothing
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),  # the client invented the left one
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.7,10.0.0.8", "10.0.0.7"),  # a client of the operator's own network
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.9", "10.0.0.9"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
        ("fd00::1", "198.51.100.1", "198.51.100.1"),
        (None, "198.51.100.1", None),
        ("127.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),  # a proxy on this machine
        ("127.0.0.1", "192.0.2.66, 198.51.100.1, 10.0.0.9", "198.51.100.1"),
        ("::1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", None, "127.0.0.1"),
    ],
)
def test_of_a_peer_and_its_header(peer: str | None, forwarded: str | None, expected: str | None) -> None:
    assert address(peer, *(() if forwarded is None else (forwarded,))) == expected


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert address("10.0.0.1", "198.51.100.1", trusted=()) == "10.0.0.1"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1"])
def test_a_proxy_on_this_machine_is_trusted_without_being_named(peer: str) -> None:
    assert address(peer, "198.51.100.1", trusted=()) == "198.51.100.1"


def test_proxies_that_add_a_line_each_tell_the_same_as_in_one_line() -> None:
    assert address("10.0.0.1", "192.0.2.66", "198.51.100.1", "10.9.9.9") == "198.51.100.1"


@given(st.text(st.characters(max_codepoint=255), max_size=200), st.booleans())
def test_whatever_a_client_sends_the_result_is_its_address(invented: str, has_port: bool) -> None:
    """The proxy appends the client's address; nothing to its left matters."""
    own = "198.51.100.7"
    forwarded = f"{invented}, {own}{':1' if has_port else ''}"
    assert address("10.0.0.1", forwarded) == own
    assert address(own, invented) == own


@given(st.lists(st.ip_addresses().map(str), max_size=50))
def test_it_is_always_an_address(hops: list[str]) -> None:
    found = address("10.0.0.1", ", ".join(hops))
    assert found is not None
    assert ip_address(found) is not None
