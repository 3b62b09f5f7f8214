"""Requests with a bad token, counted per client address in memory: a bad token causes no write.

The count refuses no request, because many clients may share an address (NAT, a proxy) and a good token among
them must pass. A bad token always answers 401. An address that sends many bad tokens loses a shortcut: the
server looks up each token from this address before any other work.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from lapel.foundation.core.clock import Clock

# Bad tokens of one address in one minute, before the address counts as suspicious.
TOLERATED = 100
_CAPACITY = 10_000
_LONGEST_NAME = 64

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Strangers:
    """Counts of this minute and the previous one; each holds `_CAPACITY` addresses at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minute = 0
        self._counts: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def note(self, client: str | None) -> None:
        """Count a request of this client address whose token was refused; None: a Unix socket."""
        self._turn()
        address = _unit(client)
        if address not in self._counts and len(self._counts) >= _CAPACITY:
            return
        count = self._counts[address] = self._counts.get(address, 0) + 1
        if count == TOLERATED + 1:
            _log.warning("auth.many_bad_tokens", address=address, in_a_minute=count)

    def suspects(self, client: str | None) -> bool:
        """Whether a client address sent too many bad tokens, in this minute or the previous one."""
        if not self._counts and not self._before:
            return False
        self._turn()
        address = _unit(client)
        return max(self._counts.get(address, 0), self._before.get(address, 0)) > TOLERATED

    def _turn(self) -> None:
        minute = int(self._clock.now().timestamp()) // 60
        if minute != self._minute:
            self._before = self._counts if minute == self._minute + 1 else {}
            self._counts, self._minute = {}, minute


def _unit(client: str | None) -> str:
    """The unit of counting: an IPv4 address, or the /64 network of an IPv6 address."""
    if client is None:
        return ""
    try:
        address = ip_address(client)
    except ValueError:
        return client[:_LONGEST_NAME]
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
