"""The HTTP client of commands: one call, one connection.

`bucket.py` has another client, which signs its calls and streams files (docs/decisions/0019).
`simulate/client/lost_answers.py` writes to a socket, because it must end a connection within a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

# Limit of a whole call, in multiples of `timeout`: a server could send one byte within each timeout.
_TOTAL = 10


class NoAnswer(Exception):
    """The server cannot be reached, breaks the connection off, or is too slow."""


class HttpAnswer(NamedTuple):
    """An answer: status, content type without its parameters, and body."""

    status: int
    content_type: str
    body: bytes


def request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    timeout: float,
    verify: bool = True,
) -> HttpAnswer:
    """One call to `url`. The URL is sent unchanged, because links are signed. Redirects are not followed.

    timeout: the most seconds until the connection is made, and between two pieces of the answer. The whole
    call may take ten times as long. verify: whether the certificate of an https URL must be valid.

    Raises NoAnswer.
    """
    call = _request(method, URL(url, encoded=True), headers or {}, body, timeout, verify)
    try:
        return asyncio.run(call)
    except (aiohttp.ClientError, OSError) as fault:  # TimeoutError is an OSError
        raise NoAnswer(f"{type(fault).__name__}: {fault}") from fault


async def _request(
    method: str, url: URL, headers: Mapping[str, str], body: bytes | None, timeout: float, verify: bool
) -> HttpAnswer:
    patience = aiohttp.ClientTimeout(total=_TOTAL * timeout, sock_connect=timeout, sock_read=timeout)
    async with (
        aiohttp.ClientSession(timeout=patience, headers={"Accept-Encoding": "identity"}) as session,
        session.request(
            method, url, headers=headers, data=body, ssl=verify, allow_redirects=False
        ) as response,
    ):
        return HttpAnswer(response.status, response.content_type, await response.read())
