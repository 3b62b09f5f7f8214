"""What a policy allows: public addresses by https, and named networks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from lapel.foundation.outbound.policy import OutboundPolicy

OWN = OutboundPolicy(
    networks=tuple(map(ip_network, ("10.1.0.0/16", "fd12:3456::/48", "64:ff9b::/96", "fe80::/10")))
)


@pytest.mark.parametrize(
    ("address", "https", "http"),
    [
        ("8.8.8.8", True, False),
        ("2606:4700:4700::1111", True, False),
        ("10.1.255.255", True, True),
        ("::ffff:10.1.0.1", True, True),
        ("fd12:3456::1", True, True),
        ("10.2.0.1", False, False),
        ("::ffff:10.2.0.1", False, False),
        ("fd12:3457::1", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", True, True),
        ("fe80::1%eth0", False, False),
        ("64:ff9b::808:808", True, False),  # NAT64 of 8.8.8.8, where the operator has named NAT64
        ("64:ff9b::a01:1", True, True),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::7f00:1", False, False),
    ],
)
def test_public_addresses_and_named_networks_are_allowed(address: str, https: bool, http: bool) -> None:
    assert (OWN.refusal(ip_address(address), secure=True, port=443) is None) is https
    assert (OWN.refusal(ip_address(address), secure=False, port=80) is None) is http


def test_a_refusal_tells_the_use_of_an_address_only_when_asked() -> None:
    refusal = OutboundPolicy().refusal(ip_address("10.0.0.1"), secure=True, port=443)
    assert refusal is not None
    remedy = "The operator may name its network in LAPEL_OUTBOUND_NETWORKS."
    assert refusal.sentences("10.0.0.1", with_use=True) == (
        f"10.0.0.1 is not public (private, RFC 1918). {remedy}"
    )
    assert refusal.sentences("It", with_use=False) == f"It is not public. {remedy}"


@pytest.mark.parametrize("port", [22, 25, 110, 6667, 10080])
def test_the_ports_of_other_services_are_called_only_in_named_networks(port: int) -> None:
    refusal = OWN.refusal(ip_address("8.8.8.8"), secure=True, port=port)
    assert refusal is not None
    assert f"port {port}" in refusal.why
    assert OWN.refusal(ip_address("10.1.0.1"), secure=False, port=port) is None
