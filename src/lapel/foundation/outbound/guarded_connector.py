"""A connector of aiohttp that connects only to addresses that the policy allows.

A name is resolved once for a connection. Every address of the answer is checked, and the connection is made
to these addresses and no others: the name server, whose second answer may differ, is not asked again. aiohttp
does not resolve an address that stands in the URL; so each address is checked again when its socket is made.
Host header, SNI and the name in the certificate stay those of the URL.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address

from lapel.foundation.outbound.bounded_answers import BoundedAnswers

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from lapel.foundation.outbound.lookups import Lookups
    from lapel.foundation.outbound.policy import OutboundPolicy

# Family, kind, protocol, canonical name and address of a socket.
_AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
# A name may have very many addresses. A connection is tried to the first ones.
_MOST_ADDRESSES = 8
# Whether the connection that this task makes is one by https. aiohttp tells it to the connector, but neither
# to the resolver nor to the function that makes sockets. These run in the same task, or in one that has a
# copy of its context.
_secure: ContextVar[bool] = ContextVar("_secure", default=False)
# Whether the connection that this task got last had served a request before.
_reused: ContextVar[bool] = ContextVar("_reused", default=False)
# Seconds for which an idle connection is kept: less than the 5 after which many servers close it.
_KEPT = 4.0


class ForbiddenAddress(aiohttp.ClientConnectionError):
    """A URL leads to an address that the policy does not allow. No connection was made.

    The message names no address that the name server told, so that tenants may read it. `host`: of the URL;
    `address`: the refused one, which `lapel doctor` shows to the operator.
    """

    def __init__(self, host: str, address: str, message: str) -> None:
        super().__init__(message)
        self.host = host
        self.address = address


class GuardedConnector(aiohttp.TCPConnector):
    """`limit` and `limit_per_host`: the most connections at once; 0 is no limit."""

    def __init__(
        self,
        policy: OutboundPolicy,
        lookups: Lookups,
        *,
        limit: int,
        limit_per_host: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  # a socket's address is an untyped tuple
            resolver=CheckingResolver(policy, lookups),
            socket_factory=self._socket,
            use_dns_cache=False,
            keepalive_timeout=_KEPT,
            limit=limit,
            limit_per_host=limit_per_host,
            ssl=tls or True,
        )
        self._factory = partial(BoundedAnswers, loop=asyncio.get_running_loop())
        self._policy = policy

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection for the request. Raises ForbiddenAddress, and what aiohttp raises."""
        _reused.set(False)
        token = _secure.set(req.is_ssl())
        try:
            connection = await super().connect(req, traces, timeout)
        finally:
            _secure.reset(token)
        if isinstance(connection.protocol, BoundedAnswers):
            _reused.set(connection.protocol.expect())
        return connection

    def _socket(self, info: _AddressInfo) -> socket.socket:
        family, kind, protocol, _, at = info
        host = str(at[0])
        check(self._policy, host, host, secure=_secure.get(), port=_port(at))
        return socket.socket(family, kind, protocol)


def connection_was_reused() -> bool:
    """Whether the connection of this task's last request had served a request before."""
    return _reused.get()


class CheckingResolver(AbstractResolver):
    """Resolves a name, and refuses it unless all its addresses are allowed."""

    def __init__(self, policy: OutboundPolicy, lookups: Lookups) -> None:
        self._policy = policy
        self._lookups = lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The first addresses of a name. Raises ForbiddenAddress, and OSError when there is none in time."""
        try:
            found = await self._lookups.addresses(host)
        except TimeoutError:
            # aiohttp takes a TimeoutError for the end of the whole call's time.
            raise OSError("the name was not resolved in time") from None
        for address in found:
            check(self._policy, host, address, secure=_secure.get(), port=port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in dict.fromkeys(found)
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ][:_MOST_ADDRESSES]

    async def close(self) -> None:
        """Nothing to close: look-ups end by themselves."""


async def refusal_of(policy: OutboundPolicy, lookups: Lookups, url: URL) -> ForbiddenAddress | None:
    """The error with which a connection to the URL would be refused now.

    None if it would not be refused, also if the name of the host cannot be resolved.
    """
    host = url.raw_host or ""
    try:
        found = [host] if is_ip_address(host) else await lookups.addresses(host)
        for address in found:
            check(policy, host, address, secure=url.scheme == "https", port=url.port or 0)
    except OSError:
        return None
    except ForbiddenAddress as refused:
        return refused
    return None


def _port(at: tuple[object, ...]) -> int:
    port = at[1]
    return port if isinstance(port, int) else 0


def check(policy: OutboundPolicy, host: str, address: str, *, secure: bool, port: int) -> None:
    """Raises ForbiddenAddress unless the policy allows this address of `host`. `secure`: by https."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # such as 127.1, which sockets understand
        raise ForbiddenAddress(host, address, f"{host} is not a plain address.") from None
    refusal = policy.refusal(parsed, secure=secure, port=port)
    if refusal is not None:
        written = host == address
        subject = host if written else f"{host} leads to an address that"
        raise ForbiddenAddress(host, address, refusal.sentences(subject, with_use=written))
