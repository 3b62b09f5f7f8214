"""The HTTP client of commands: one call, one connection.

`bucket.py` has another client, which signs its calls and streams files (docs/decisions/0019).
`simulate/client/lost_answers.py` writes to a socket, because it must end a connection within a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Mapping
from typing import NamedTuple

import aiohttp
from yarl import URL

from lapel.foundation.core.errors import words_of

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
    with answered(url):
        return asyncio.run(_request(method, URL(url, encoded=True), headers or {}, body, timeout, verify))


@contextlib.contextmanager
def answered(url: str) -> Generator[None]:
    """A call to `url`. Raises NoAnswer, with a reason for people, instead of aiohttp's and OS errors."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as fault:  # TimeoutError is an OSError
        raise NoAnswer(_outage(fault, url)) from fault


def _outage(fault: aiohttp.ClientError | OSError, url: str) -> str:
    # Only the server is named, because a signed link is a secret.
    server = str(URL(url, encoded=True).origin())
    if isinstance(fault, aiohttp.ClientSSLError):
        return f"no secure connection to {server}: {fault.os_error.strerror or fault}"
    if isinstance(fault, aiohttp.ClientConnectorError):
        return f"no connection to {server}: {words_of(fault.os_error)}"
    if isinstance(fault, TimeoutError):
        return f"{server} does not answer in time"
    if isinstance(fault, aiohttp.ServerDisconnectedError):
        return f"{server} ended the connection without an answer"
    if isinstance(fault, aiohttp.ClientPayloadError):
        return f"{server} broke off its answer"
    if isinstance(fault, OSError):
        return f"the connection to {server} broke off: {words_of(fault)}"
    return f"the connection to {server} broke off: {fault}".rstrip(": ")


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
