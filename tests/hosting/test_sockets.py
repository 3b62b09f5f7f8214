"""The sockets on which a server listens."""

from __future__ import annotations

import pytest

from lapel.hosting.sockets import AddressInUse, listen


def test_a_taken_address_is_refused_with_the_way_out() -> None:
    taken = listen("127.0.0.1", 0, 2)
    try:
        port = taken[0].getsockname()[1]
        assert taken[1].getsockname()[1] == port
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port} cannot be listened on.*--port"):
            listen("127.0.0.1", port, 2)
        with pytest.raises(AddressInUse, match="--host"):
            listen("no-such-host.invalid", 0)
    finally:
        for each in taken:
            each.close()
