"""Faults of calls to a provider."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

CHUNK = 64 * 1024


@dataclass
class Fault:
    """The faulty answer to one call. `before_body`: sent without reading the request's body."""

    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    before_body: bool = False


def status(code: int, content: Any = None, *, before_body: bool = False, **headers: str) -> Fault:
    """An answer with another status. `Retry_After="5"` is the header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: web.Request) -> web.StreamResponse:
        if isinstance(content, bytes | str):
            text = content if isinstance(content, bytes) else content.encode()
            return web.Response(status=code, body=text, headers=named)
        return web.json_response(content, status=code, headers=named)

    return Fault(answer, before_body)


def content(text: bytes | str) -> Fault:
    """200 with this body."""
    return status(200, text)


async def _hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "5000"})
    await response.prepare(request)
    await response.write(b'{"results": {"channels": [')
    if request.transport is not None:
        request.transport.abort()
    return response


async def _close(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        await response.write(b'{"text": "')
        while True:
            await response.write(b"a" * CHUNK)
    return response


async def _no_http(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    transport.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    transport.close()
    return web.Response()


HANG, CUT, CLOSE = Fault(_hang), Fault(_cut), Fault(_close)
TRICKLE, ENDLESS, NO_HTTP = Fault(_trickle), Fault(_endless), Fault(_no_http)
DEAF = Fault(_hang, before_body=True)
