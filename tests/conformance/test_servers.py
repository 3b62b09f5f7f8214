"""The servers that the suite starts."""

from pathlib import Path

import pytest

from tests.support.ports import free_ports

_CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.skipif(not _CLIENTS.exists(), reason="only Linux tells its clients' ports")
def test_a_server_gets_a_port_that_no_client_takes_meanwhile() -> None:
    first, _ = map(int, _CLIENTS.read_text(encoding="ascii").split())
    if first < 32_768:
        pytest.skip(f"this machine gives its clients ports from {first} on; by default they begin with 32768")
    ports = free_ports(100)
    assert len(set(ports)) == 100
    assert max(ports) < first
