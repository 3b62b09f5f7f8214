"""`lapel listen`: forwards events to a URL as they happen, signed like a webhook's deliveries."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import aiohttp
import msgspec
from cyclopts import Parameter

from lapel.cli.events.event_heads import EVENT_SCOPES, EventHead, Types
from lapel.cli.events.listen_state import ListenState
from lapel.cli.shared.event_stream import UnknownPlace, follow
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.following import JsonLines, line, lost, now, run_until_interrupted, session
from lapel.cli.shared.http_client import NoAnswer, answered
from lapel.cli.shared.installation import settings_of
from lapel.cli.shared.options import DataDir, say
from lapel.cli.shared.server import Key, Project, ServerAccess, Url, http_url, server_access
from lapel.foundation.identity.webhook_signatures import delivery_headers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.cli.shared.event_stream import Streamed

_KEY_LIVES = timedelta(days=30)
_ANSWER = aiohttp.ClientTimeout(total=30)  # as for a webhook


class Listening(msgspec.Struct, frozen=True):
    """The first line: where events go, and the secret that signs them."""

    forward_to: str
    secret: str


class Forwarded(msgspec.Struct, frozen=True):
    """An event that was sent. `status`: of the answer, None without one; `error` then says why."""

    at: str
    id: str
    type: str
    sequence: int
    status: int | None
    ms: int
    error: str | None


def listen(
    *,
    forward_to: Annotated[str, Parameter(help="URL that gets each event by POST.")],
    events: Types = None,
    from_now: Annotated[
        bool, Parameter(negative=(), help="Begin with the next event, not where the last run stopped.")
    ] = False,
    after: Annotated[
        str | None,
        Parameter(
            help="Begin after this place, the first column of a line, and so forward events again; 0 is "
            "before the oldest event."
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: JsonLines = False,
) -> None:
    """Forward events to a URL as they happen, signed like the deliveries of a webhook.

    Prints the signing secret, which stays the same for a data folder, then a line for each event. Ctrl-C ends
    it. The next run with the same URL, for the same world, continues where this one stopped, so it also
    forwards the events that happened meanwhile. An event that the URL does not accept is not sent again by
    itself: `--after` with a place before that event forwards it again, and all that follow.

    For example:

        lapel listen --forward-to http://localhost:4242/hooks
        lapel listen --forward-to http://localhost:4242 --events 'recording.*'
        lapel listen --forward-to http://localhost:4242 --after 44
        export LAPEL_URL=https://api.example.com LAPEL_KEY=sk_test_…
        lapel listen --forward-to http://localhost:4242
    """
    _check_target(forward_to)
    if from_now and after is not None:
        raise CommandError("--from-now and --after name two places to begin at: give one.")
    state = ListenState(settings_of(data_dir).data_dir)
    with server_access(
        url, key, project, data_dir, scopes=EVENT_SCOPES, name="lapel listen", lives=_KEY_LIVES
    ) as access:
        listener = _Listener(access, state, forward_to, json)
        run_until_interrupted(listener.run(events, after, from_now=from_now))


def _check_target(url: str) -> None:
    if http_url(url) is None:  # the URL is printed and stored, so it may hold no password
        raise CommandError("--forward-to takes a URL such as http://localhost:4242/hooks, without a user.")


class _Listener:
    def __init__(self, access: ServerAccess, state: ListenState, forward_to: str, json: bool) -> None:
        self._access = access
        self._state = state
        self._forward_to = forward_to
        self._json = json
        self._secret = state.secret()

    async def run(self, types: str | None, after: str | None, *, from_now: bool) -> None:
        """Forwards until it is cancelled. Raises CommandError when the server refuses the stream."""
        shown = f"Forwarding events to {self._forward_to}. Signing secret: {self._secret}"
        line(Listening(self._forward_to, self._secret), self._json, shown)
        params = {"types": types} if types else {}
        async with session() as http:
            # A stream that begins with the next event tells its world, and the place before that event.
            async with contextlib.aclosing(self._stream(http, params, None)) as stream:
                begin = await anext(stream)
            world = f"{self._access.server} {begin.comment.removeprefix('world ')}".lstrip()
            last = after or (None if from_now else self._state.last(self._forward_to, world))
            if last is not None:
                try:
                    await self._follow(http, params, world, last)
                except UnknownPlace:
                    if after is not None:
                        raise
                    say("the stream does not have the place of the last run; beginning with the next event.")
            self._state.note(self._forward_to, world, begin.id)
            await self._follow(http, params, world, begin.id)

    def _stream(
        self, http: aiohttp.ClientSession, params: dict[str, str], last: str | None
    ) -> AsyncGenerator[Streamed]:
        return follow(http, self._access, "/v1/events/stream", params, last, lost)

    async def _follow(
        self, http: aiohttp.ClientSession, params: dict[str, str], world: str, last: str
    ) -> None:
        async with contextlib.aclosing(self._stream(http, params, last)) as events:
            async for event in events:
                if event.data is not None:
                    await self._forward(http, event, event.data)
                if event.id != last:
                    last = event.id
                    self._state.note(self._forward_to, world, last)

    async def _forward(self, http: aiohttp.ClientSession, event: Streamed, body: bytes) -> None:
        head = msgspec.json.decode(body, type=EventHead)
        signed = delivery_headers(
            head.id, int(event.id), body, timestamp=int(time.time()), secrets=(self._secret,)
        )
        began = time.perf_counter()
        status, error = None, None
        try:
            with answered(self._forward_to):
                async with http.post(
                    self._forward_to, data=body, headers=signed, timeout=_ANSWER, allow_redirects=False
                ) as answer:
                    status = answer.status
        except NoAnswer as fault:
            error = str(fault)
        ms = round((time.perf_counter() - began) * 1000)
        forwarded = Forwarded(now(), head.id, head.type, int(event.id), status, ms, error)
        shown = f"{event.id}  {forwarded.at}  {head.type}  {head.id}  → {error or status} ({ms} ms)"
        line(forwarded, self._json, shown)
