"""`lapel events tail`: shows events as they happen."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from lapel.cli.events.event_heads import EVENT_SCOPES, EventHead, Types
from lapel.cli.shared.event_stream import follow
from lapel.cli.shared.following import JsonLines, line, lost, run_until_interrupted, session
from lapel.cli.shared.options import DataDir, say
from lapel.cli.shared.server import Key, Project, Url, server_access

if TYPE_CHECKING:
    from lapel.cli.shared.server import ServerAccess

_KEY_LIVES = timedelta(days=30)


class _Subject(msgspec.Struct):
    id: str = ""


def tail(
    *,
    types: Types = None,
    after: Annotated[
        str | None,
        Parameter(help="Begin after this place, the first column of a line; 0 is before the oldest event."),
    ] = None,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: JsonLines = False,
) -> None:
    """Show events as they happen: a line each, or with --json the whole event. Ctrl-C ends it.

    For example:

        lapel events tail
        lapel events tail --types 'recording.*' --after 0
        lapel events tail --json | jq .data.id
    """
    with server_access(
        url, key, project, data_dir, scopes=EVENT_SCOPES, name="lapel events tail", lives=_KEY_LIVES
    ) as access:
        run_until_interrupted(_show(access, types, after, json))


async def _show(access: ServerAccess, types: str | None, after: str | None, json: bool) -> None:
    params = {"types": types} if types else {}
    async with session() as http:
        stream = follow(http, access, "/v1/events/stream", params, after, lost)
        async with contextlib.aclosing(stream) as events:
            ready = False
            async for event in events:
                if not ready:
                    say("showing events as they happen; Ctrl-C ends it.")
                    ready = True
                if event.data is None:
                    continue
                head = msgspec.json.decode(event.data, type=EventHead)
                subject = msgspec.json.decode(head.data, type=_Subject).id
                line(head, json, f"{event.id}  {head.created_at}  {head.type}  {head.id}  {subject}")
