"""`lapel ask`: asks a running server about recordings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import aiohttp
import msgspec
from cyclopts import Parameter

from lapel.cli.shared.event_stream import events_of
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.following import run_until_interrupted, session
from lapel.cli.shared.http_client import NoAnswer, answered
from lapel.cli.shared.options import DataDir, Json, put, say, visible
from lapel.cli.shared.server import Key, Project, Url, server_access, unanswered

if TYPE_CHECKING:
    from lapel.cli.shared.server import ServerAccess

_KEY_LIVES = timedelta(hours=1)
_SCOPES = ("ask:read", "ask:write", "end_users:read")
# The server sends something at least every 15 s.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=40)


class _Session(msgspec.Struct):
    id: str


class _EndUsers(msgspec.Struct):
    data: list[_Session]


class _TextDelta(msgspec.Struct):
    text: str


class _Citation(msgspec.Struct):
    recording_id: str
    start_ms: int


class _ErrorFacts(msgspec.Struct):
    message: str


class _AskRefusal(msgspec.Struct):
    error: _ErrorFacts


def ask(
    question: str,
    *,
    recording: Annotated[str | None, Parameter(help="Ask about this recording only.")] = None,
    end_user: Annotated[
        str | None,
        Parameter(help="Ask about all recordings of this end user. Default: the only end user there is."),
    ] = None,
    provider: Annotated[
        str | None, Parameter(help="gemini, openai or claude. Default: as configured.")
    ] = None,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Ask a question about recordings. The answer says at which minute and second it was said.

    The session stays on the server: `GET /v1/ask/sessions` lists it.

    For example:

        lapel ask "When is the roof repaired?" --recording rec_…
        lapel ask "Who signs the contract?" --end-user eu_… --json
    """
    if recording is not None and end_user is not None:
        raise CommandError("--recording and --end-user exclude each other: give one of them.")
    asked = {"content": question, **({} if provider is None else {"provider": provider})}
    with server_access(
        url, key, project, data_dir, scopes=_SCOPES, name="lapel ask", lives=_KEY_LIVES
    ) as access:
        run_until_interrupted(_Asking(access, json).run(asked, recording, end_user))


class _Asking:
    def __init__(self, access: ServerAccess, as_json: bool) -> None:
        self._base = access.base_url()
        self._headers = {"Authorization": f"Bearer {access.key}"}
        self._as_json = as_json
        self._several = False

    async def run(self, asked: dict[str, str], recording: str | None, end_user: str | None) -> None:
        """Ask, and print the answer as it comes. Raises CommandError when the server refuses."""
        try:
            async with session() as http:
                path = f"/v1/ask/sessions/{await self._begin(http, recording, end_user)}/messages"
                async with contextlib.aclosing(self._answer(http, path, asked)) as pieces:
                    async for piece in pieces:
                        put(piece.encode())
        except NoAnswer as fault:
            raise unanswered(fault) from fault

    async def _begin(self, http: aiohttp.ClientSession, recording: str | None, end_user: str | None) -> str:
        """The id of a new session."""
        if recording is not None:
            body: dict[str, Any] = {"scope": {"type": "recording", "recording_id": recording}}
        else:
            self._several = True
            owner = end_user or await self._only_end_user(http)
            body = {"scope": {"type": "library"}, "end_user_id": owner}
        made = await self._call(http, "POST", "/v1/ask/sessions", body)
        return msgspec.json.decode(made, type=_Session).id

    async def _only_end_user(self, http: aiohttp.ClientSession) -> str:
        found = msgspec.json.decode(await self._call(http, "GET", "/v1/end-users?limit=2"), type=_EndUsers)
        if len(found.data) != 1:
            raise CommandError("Say whose recordings to ask about: give --recording or --end-user.")
        return found.data[0].id

    async def _call(
        self, http: aiohttp.ClientSession, method: str, path: str, body: dict[str, Any] | None = None
    ) -> bytes:
        with answered(self._base):
            async with http.request(
                method, f"{self._base}{path}", json=body, headers=self._headers, timeout=_TIMEOUT
            ) as answer:
                content = await answer.read()
        if answer.status >= 400:
            raise _refused(content)
        return content

    async def _answer(
        self, http: aiohttp.ClientSession, path: str, asked: dict[str, str]
    ) -> AsyncGenerator[str]:
        """What to print. Raises NoAnswer, and CommandError when the answer fails."""
        body = {**asked, "stream": True}
        url, ended = f"{self._base}{path}", False
        with answered(self._base):
            async with http.post(url, json=body, headers=self._headers, timeout=_TIMEOUT) as answer:
                if answer.status != 200:
                    raise _refused(await answer.read())
                async for event in events_of(answer.content.iter_any()):
                    if event.data is None:
                        continue
                    if event.name == "error":
                        raise _refused(event.data)
                    ended = ended or event.name == "message.completed"
                    yield self._shown(event.name, event.data)
        if not ended:
            raise CommandError("The server ended the stream before the answer was complete. Ask again.")

    def _shown(self, name: str, data: bytes) -> str:
        if self._as_json:
            return data.decode() + "\n" if name == "message.completed" else ""
        if name == "text.delta":
            lines = msgspec.json.decode(data, type=_TextDelta).text.split("\n")
            return "\n".join(visible(each) for each in lines)
        if name == "citation":
            cited = msgspec.json.decode(data, type=_Citation)
            minutes, seconds = divmod(cited.start_ms // 1000, 60)
            where = f"{cited.recording_id} " if self._several else ""
            return f" [{where}{minutes:02d}:{seconds:02d}]"
        return "\n" if name == "message.completed" else ""


def _refused(content: bytes) -> CommandError:
    try:
        return CommandError(msgspec.json.decode(content, type=_AskRefusal).error.message)
    except msgspec.DecodeError:
        say("the answer is not Lapel's; is the URL right?")
        return CommandError("The server refuses the question.")
