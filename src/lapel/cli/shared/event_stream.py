"""A client of the API's streams: server-sent events, read for ever, with a new connection after each outage.

Source: "Server-sent events", HTML Living Standard (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.http_client import NoAnswer, answered
from lapel.cli.shared.server import ServerAway

if TYPE_CHECKING:
    from lapel.cli.shared.server import ServerAccess

# The server sends something every 15 s, so a longer silence means that it is gone.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=40)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


class Streamed(NamedTuple):
    """One event: its id, its data without the line breaks at the ends (None when only the id or a comment
    came), the name of its kind, which is empty for usual events, and the comment before it."""

    id: str
    data: bytes | None
    name: str = ""
    comment: str = ""


class UnknownPlace(CommandError):
    """The server does not know the id after which the stream should continue."""


class _RefusalBody(msgspec.Struct):
    message: str
    param: str | None = None


class _StreamRefusal(msgspec.Struct):
    error: _RefusalBody


async def follow(
    session: aiohttp.ClientSession,
    access: ServerAccess,
    path: str,
    params: Mapping[str, str],
    last_id: str | None,
    lost: Callable[[str | None], None],
) -> AsyncGenerator[Streamed]:
    """The events of a stream after `last_id`, for ever. `lost` gets the reason of each outage, once, and
    None when the stream continues.

    Raises CommandError when the server refuses the request for good or answers with something else than a
    stream, and UnknownPlace when it refuses `last_id`.
    """
    pause, told = _FIRST_PAUSE, False
    while True:
        headers = {"Authorization": f"Bearer {access.key}", "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        try:
            base_url = access.base_url()
            with answered(base_url):
                async with session.get(
                    f"{base_url}{path}",
                    params=params,
                    headers=headers,
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                ) as answer:
                    if answer.status == 200:
                        if answer.content_type != "text/event-stream":
                            raise CommandError(
                                f"{base_url} answers, but not as Lapel does; is the URL right?"
                            )
                        async for event in events_of(answer.content.iter_any()):
                            if told:
                                lost(None)
                            pause, told = _FIRST_PAUSE, False
                            last_id = event.id
                            yield event
                        why = "the server ended the stream"
                    elif answer.status in _LATER:
                        why = f"the server answers {answer.status}"
                        asked = answer.headers.get("Retry-After", "")
                        pause = max(pause, min(float(asked), 60.0) if asked.isdigit() else 0.0)
                    else:
                        raise _refused(answer.status, await answer.read())
        except (ServerAway, NoAnswer) as fault:
            why = str(fault).rstrip(".")
        if not told:
            lost(why)
            told = True
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _refused(status: int, body: bytes) -> CommandError:
    try:
        error = msgspec.json.decode(body, type=_StreamRefusal).error
    except msgspec.DecodeError:
        return CommandError(f"the server answers {status}; is this a Lapel server?")
    kind = UnknownPlace if error.param == "Last-Event-ID" else CommandError
    remedy = " Set LAPEL_KEY to another key; `lapel keys create --scopes SCOPE` makes one."
    return kind(f"the server refuses the stream ({status}): {error.message}{remedy if status == 403 else ''}")


async def events_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[Streamed]:
    """The events of an answer's body."""
    event_id, kind, comment, data = "", "", "", list[bytes]()
    async for line in _lines(pieces):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id":
            event_id = value.decode()
        elif name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode()
        elif not line:
            yield Streamed(event_id, b"\n".join(data) if data else None, kind, comment)
            kind, comment, data = "", "", []
        elif not name:
            comment = value.decode()


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Lines without their end. Lapel ends lines with a line feed."""
    begun: list[bytes] = []
    async for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            yield b"".join((*begun, line))
            begun = []
        if rest:
            begun.append(rest)
