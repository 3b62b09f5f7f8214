"""Calls of tools: from the arguments to a request of the API, and from its answer to that of the tool.

The request takes the whole path of a request from outside, so its scopes, limits, errors, audit entries and
logs are those of the route.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote, urlencode

import msgspec

from lapel.foundation.core.asgi import CALLED, INSIDE, Called
from lapel.foundation.core.errors import ApiError, InvalidRequest, NotFound
from lapel.foundation.http.calls import NoBody, NoQuery
from lapel.foundation.http.input.decoding import BodyDecoder
from lapel.foundation.http.responses import refuse
from lapel.slices.mcp.session_arguments import differing, is_described
from lapel.slices.mcp.tool_schemas import FIRST, ID, QUESTION, SESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.asgi import App, Message, Scope
    from lapel.foundation.http.operations import Operation
    from lapel.slices.mcp.toolbox import Tool, Toolbox

Arguments: TypeAlias = "Mapping[str, Any]"
# What a request inside takes over from the request to /mcp.
_HEADERS = frozenset(
    (
        b"authorization",
        b"x-forwarded-for",
        b"bota-version",
        b"idempotency-key",
        b"traceparent",
        b"x-request-id",
    )
)
# What a question is about if its scope is not given.
_LIBRARY = {"type": "library"}
_CONNECTION = ("asgi", "http_version", "scheme", "server", "client")


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool answers: the JSON of the route. `value` is the same, decoded; None if it is an error."""

    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class _RouteRequest:
    method: str
    path: str
    query: bytes = b""
    body: bytes = b""


class ToolCalls:
    """Calls tools for the callers of /mcp."""

    def __init__(self, tools: Toolbox, api: App) -> None:
        self._tools = tools
        self._api = api

    async def call(self, tool: Tool, arguments: Arguments, scope: Scope) -> ToolAnswer:
        """Call a tool for the caller in `scope[CALLED]`. An error of the API is an answer, too."""
        called: Called = scope[CALLED]
        try:
            self._tools.check(tool, called.actor)
            tool.schemas.refuse_unknown(arguments)
            request, finds = _request(tool, arguments)
            described = _described_session(tool, arguments)
        except ApiError as error:
            return _error(error, called.request_id)
        if described is not None and (refused := await self._compared(*described, scope)):
            return refused
        status, content, request_id = await self._answer(request, scope)
        if status >= 400:
            return ToolAnswer(content.decode(), None)
        value: Any = msgspec.json.decode(content)
        if not finds:
            return ToolAnswer(content.decode(), value)
        rows: list[Any] = value["data"]
        if not rows:
            return _error(NotFound("There is nothing with this value.", param=finds), request_id)
        return ToolAnswer(msgspec.json.encode(rows[0]).decode(), rows[0])

    async def _compared(self, request: _RouteRequest, given: Arguments, scope: Scope) -> ToolAnswer | None:
        """The error if the arguments name another scope or end user than the session has, or if the caller
        may not read the session."""
        status, content, request_id = await self._answer(request, scope)
        if status >= 400:
            return ToolAnswer(content.decode(), None)
        name = differing(given, msgspec.json.decode(content))
        if name is None:
            return None
        told = f"This session has another `{name}`. Leave out either `{name}` or `{SESSION}`."
        return _error(InvalidRequest(told, param=name), request_id)

    async def _answer(self, request: _RouteRequest, scope: Scope) -> tuple[int, bytes, str]:
        """Status, body and request id of the API's answer."""
        # In a task of its own: its deadline cancels its task, and its request id is not the caller's.
        return await asyncio.create_task(self._ask(request, scope), name="tool-call")

    async def _ask(self, request: _RouteRequest, scope: Scope) -> tuple[int, bytes, str]:
        headers = [(name, value) for name, value in scope["headers"] if name in _HEADERS]
        if request.method != "POST":
            headers = [each for each in headers if each[0] != b"idempotency-key"]
        if request.body:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(request.body)),
                # As of the arguments, unknown fields within them are refused.
                (b"lapel-strict", b"true"),
            ]
        inside: Scope = {
            **{name: scope[name] for name in _CONNECTION if name in scope},
            "type": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "root_path": "",
            "query_string": request.query,
            "headers": headers,
            INSIDE: True,
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._api(inside, receive, send)
        start = sent[0]
        told = dict(start["headers"])[b"x-request-id"].decode()
        return start["status"], b"".join(each.get("body", b"") for each in sent[1:]), told


def _request(tool: Tool, arguments: Arguments) -> tuple[_RouteRequest, str]:
    """The request of a call; and, if it finds the resource by another argument than the id, that argument.

    Raises InvalidRequest for an argument of a wrong type, NotFound for an id that cannot exist.
    """
    operation, found_by = tool.operation, tool.entry.found_by
    if tool.finder is not None and found_by is not None:
        finder, given = found_by[0], arguments.get(found_by[0])
        if given is not None:
            if arguments.get(ID) is not None:
                raise InvalidRequest(f"Give either `{ID}` or `{finder}`.", param=finder)
            query = _query(tool.finder, {finder: given, "limit": 1})
            return _RouteRequest("GET", tool.finder.path, query), finder
    taken = {name: each for name, each in arguments.items() if name not in tool.entry.hidden}
    if tool.asking is not None:
        return _question(tool, tool.asking, taken), ""
    body = b"" if operation.body is NoBody else msgspec.json.encode(_fields_of(operation, taken))
    path = _path(operation, tool, ID, arguments)
    return _RouteRequest(operation.method, path, _query(operation, taken), body), ""


def _question(tool: Tool, asking: Operation, taken: Arguments) -> _RouteRequest:
    """The request of a question: in a session that exists, or as the first one of a new session.

    The form of the route that makes a session is taken, too: then the question is the `initial_message`, and
    no `content` may stand beside it.
    """
    question, first = _fields_of(asking, taken), taken.get(FIRST)
    if first is not None and question.get(QUESTION) is not None:
        raise InvalidRequest(f"Give either `{QUESTION}` or `{FIRST}`.", param=FIRST)
    if first is None:
        BodyDecoder(asking.body)(
            msgspec.json.encode(question)
        )  # so that its errors name the tool's arguments
    if taken.get(SESSION) is not None:
        path = _path(asking, tool, SESSION, taken)
        return _RouteRequest(asking.method, path, body=msgspec.json.encode(question))
    made = {"scope": _LIBRARY, **_fields_of(tool.operation, taken)}
    if made["scope"] is None:
        made["scope"] = _LIBRARY
    if first is None:
        made[FIRST] = question
    elif isinstance(first, dict):
        made[FIRST] = {**question, **cast("Arguments", first)}  # a `provider` may stand beside it
    return _RouteRequest(tool.operation.method, tool.operation.path, body=msgspec.json.encode(made))


def _described_session(tool: Tool, arguments: Arguments) -> tuple[_RouteRequest, Arguments] | None:
    """The request for the session of a question, and what the arguments say about it besides its id; None if
    they say nothing. Raises InvalidRequest when they are wrong."""
    taken = {name: each for name, each in arguments.items() if name not in tool.entry.hidden}
    if tool.session is None or taken.get(SESSION) is None or not is_described(taken):
        return None
    given = {"scope": _LIBRARY, **{name: each for name, each in taken.items() if each is not None}}
    BodyDecoder(tool.operation.body)(msgspec.json.encode(_fields_of(tool.operation, given)))
    return _RouteRequest("GET", _path(tool.session, tool, SESSION, taken)), taken


def _fields_of(operation: Operation, arguments: Arguments) -> dict[str, Any]:
    """The arguments that are fields of the operation's body."""
    names = operation.body.__struct_encode_fields__
    return {name: arguments[name] for name in names if name in arguments}


def _path(operation: Operation, tool: Tool, name: str, arguments: Arguments) -> str:
    pattern = tool.schemas.id_pattern
    if pattern is None:
        return operation.path
    (parameter,) = operation.parameters
    # The name of the API's document is taken, too.
    given = arguments.get(name, arguments.get(parameter))
    if given is None:
        names = f"`{name}`" if tool.entry.found_by is None else f"`{name}` or `{tool.entry.found_by[0]}`"
        raise InvalidRequest(f"The tool needs {names}.", param=name)
    if not isinstance(given, str):
        raise InvalidRequest(f"`{name}` is a string.", param=name)
    if not pattern.match(given):
        raise NotFound("There is nothing with this id.")
    return operation.path.replace(f"{{{parameter}}}", quote(given))


def _query(operation: Operation, arguments: Arguments) -> bytes:
    """The query string. The types of the arguments are checked here, because a query string has none."""
    if operation.query is NoQuery:
        return b""
    names = operation.query.__struct_encode_fields__
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    BodyDecoder(operation.query)(msgspec.json.encode(given))
    return urlencode({name: _text(value) for name, value in given.items()}).encode()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _error(error: ApiError, request_id: str) -> ToolAnswer:
    return ToolAnswer(refuse(error, request_id, as_problem=False)[2].decode(), None)
