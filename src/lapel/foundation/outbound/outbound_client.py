"""The HTTP client for URLs that a tenant chooses.

It connects only to addresses that the policy allows (`guarded_connector.py`). It follows no redirect, uses no
proxy and no `.netrc` of the environment, keeps no cookies, decompresses nothing, and accepts no invalid
certificate. docs/decisions/0020 says why this is a hook of aiohttp and not a proxy.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import aiohttp

from lapel.foundation.outbound.guarded_connector import GuardedConnector, connection_was_reused
from lapel.foundation.outbound.lookups import Lookup, Lookups, system_lookup

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from yarl import URL

    from lapel.foundation.outbound.policy import OutboundPolicy


# So many kept connections may be closed already, before the fault counts.
_MOST_STALE = 3


class OutboundClient:
    """An `async with` that closes all connections at its end. `open_client` makes one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(
        self,
        method: str,
        url: str | URL,
        *,
        data: bytes | aiohttp.Payload | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request; the response is read inside the `async with`. A redirect is an answer like others.

        Raises, when it is entered: ForbiddenAddress, another aiohttp.ClientError, or TimeoutError.
        """
        return self._session.request(method, url, data=data, headers=headers, allow_redirects=False)

    async def post_repeatably(
        self, url: str | URL, *, data: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """POST what may arrive twice; the caller leaves the response, which is a context manager.

        If the receiver closes a kept connection just when it is used again, the request is sent once more.
        Raises ForbiddenAddress, another aiohttp.ClientError, or TimeoutError.
        """
        stale = 0
        while True:
            try:
                return await self._session.post(url, data=data, headers=headers, allow_redirects=False)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                stale += 1
                if stale > _MOST_STALE or not connection_was_reused():
                    raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def open_client(
    policy: OutboundPolicy,
    *,
    total: float | None,
    connect: float,
    lookup_seconds: float = 10.0,
    limit: int = 100,
    limit_per_host: int = 0,
    buffer_bytes: int = 64 * 1024,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    lookup: Lookup = system_lookup,
) -> OutboundClient:
    """A client for the running event loop.

    Times in seconds: `total` for a whole call with the reading of its answer (None: the caller limits it);
    `connect` for one try to connect, TLS included; `lookup_seconds` for a name. `limit`, `limit_per_host`:
    the most connections at once, 0 is no limit. `buffer_bytes`: if nobody reads an answer, its connection is
    read no further after about twice this size. `headers`: of every request. `tls`: how certificates are
    verified; default: as the system does.
    """
    return OutboundClient(
        aiohttp.ClientSession(
            connector=GuardedConnector(
                policy,
                Lookups(lookup, lookup_seconds),
                limit=limit,
                limit_per_host=limit_per_host,
                tls=tls,
            ),
            # No compression: a short answer could unpack to an endless one.
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=buffer_bytes,
            auto_decompress=False,
            trust_env=False,
        )
    )
