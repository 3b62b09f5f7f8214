"""`lapel logs tail`: shows requests as they are answered."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.event_stream import follow
from lapel.cli.shared.following import JsonLines, lost, run_until_interrupted, session
from lapel.cli.shared.options import DataDir, emit, say, visible
from lapel.cli.shared.server import Key, Project, Url, server_access

if TYPE_CHECKING:
    from lapel.cli.shared.event_stream import Streamed
    from lapel.cli.shared.server import ServerAccess

_KEY_LIVES = timedelta(days=30)
_SCOPE = "audit:read"


class _Caller(msgspec.Struct):
    id: str


class _Request(msgspec.Struct):
    request_id: str
    created_at: str
    method: str
    path: str
    status: int
    duration_ms: float
    actor: _Caller
    address: str | None = None
    error_code: str | None = None


class _Missed(msgspec.Struct):
    count: int


def tail(
    *,
    method: Annotated[
        str | None, Parameter(help="Only these methods, with commas between them, such as POST,DELETE.")
    ] = None,
    status: Annotated[
        str | None,
        Parameter(help="Only these statuses, with commas between them, such as 409,5xx. 4xx is 400 to 499."),
    ] = None,
    path: Annotated[
        str | None, Parameter(help="Only paths that begin with this, such as /v1/devices.")
    ] = None,
    actor: Annotated[
        str | None,
        Parameter(
            help="Only this caller: the id of a key, device, recording (of an upload token) or end user, or "
            "a kind: key, device, upload, end_user."
        ),
    ] = None,
    form: Annotated[
        Literal["text", "json"],
        Parameter(name="--format", help="json prints one JSON document a line, as --json does."),
    ] = "text",
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: JsonLines = False,
) -> None:
    """Show requests as they are answered: time, status, method, path, caller, address. Ctrl-C ends it.

    Shows the requests of one world of a project, answered by any process of the server. Nothing is stored:
    what was answered before the command began, or while the server was away, is not shown.

    For example:

        lapel logs tail
        lapel logs tail --status 4xx,5xx
        lapel logs tail --method POST --path /v1/recordings --json
        export LAPEL_URL=https://api.example.com LAPEL_KEY=sk_live_…
        lapel logs tail --actor device
    """
    asked = {"method": method, "status": status, "path": path, "actor": actor}
    params = {name: value for name, value in asked.items() if value is not None}
    with server_access(
        url, key, project, data_dir, scopes=[_SCOPE], name="lapel logs tail", lives=_KEY_LIVES
    ) as access:
        run_until_interrupted(_Tail(json or form == "json").run(access, params))


class _Tail:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._connected = False
        self._missed = 0

    async def run(self, access: ServerAccess, params: dict[str, str]) -> None:
        """Shows requests until it is cancelled. Raises CommandError when the server refuses the stream."""
        try:
            async with session() as http:
                stream = follow(http, access, "/v1/logs/stream", params, None, self._lost)
                async with contextlib.aclosing(stream) as events:
                    async for event in events:
                        self._show(event)
        finally:
            if self._missed:
                say(f"{_requests(self._missed)} not shown in all.")

    def _lost(self, why: str | None) -> None:
        if why is not None:  # after the outage, `_show` says what is shown
            self._connected = False
            lost(why)

    def _show(self, event: Streamed) -> None:
        if not self._connected:
            say("showing requests from now on, as they are answered; Ctrl-C ends it.")
            self._connected = True
        if event.data is None:
            return
        if event.name == "missed":
            count = msgspec.json.decode(event.data, type=_Missed).count
            self._missed += count
            say(f"{_requests(count)} not shown, because there were too many; a filter shows fewer.")
        elif not event.name:
            emit(msgspec.Raw(event.data), self._as_json, lambda data=event.data: _line(data))


def _requests(count: int) -> str:
    return "1 request was" if count == 1 else f"{count:,} requests were"


def _line(data: bytes) -> str:
    made = msgspec.json.decode(data, type=_Request)
    parts = (
        made.created_at,
        str(made.status),
        f"{made.method:6}",
        made.path,
        f"{made.duration_ms:g} ms",
        made.request_id,
        made.actor.id,
        made.address,
        made.error_code,
    )
    return "  ".join(visible(part) for part in parts if part)
