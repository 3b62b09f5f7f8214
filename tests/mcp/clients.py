"""Clients of /mcp: the package's own, and single messages as raw HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import httpx2
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.patience import LONG
from tests.support.tenants import bearer
from tests.support.transport import loopback_client

# As the Inspector and the assistants of its time send them.
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
REVISION = "2025-06-18"
INITIALIZE = {
    "protocolVersion": REVISION,
    "capabilities": {"sampling": {}, "roots": {"listChanged": True}},
    "clientInfo": {"name": "mcp-inspector", "version": "0.17.2"},
}


@asynccontextmanager
async def connected(
    url: str, token: str, mode: Literal["legacy", "auto"] = "auto", name: str = "Authorization"
) -> AsyncGenerator[Client]:
    """The package's client, connected to the server at `url`."""
    async with (
        httpx2.AsyncClient(headers={name: f"Bearer {token}"}, timeout=LONG) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


class Raw:
    """Sends single messages, and follows nothing that it is told."""

    def __init__(self, url: str, token: str | None, client: httpx.AsyncClient) -> None:
        self.url = url
        self._headers = HEADERS | ({} if token is None else bearer(token))
        self._client = client

    async def post(self, body: object, **headers: str) -> httpx.Response:
        """Send a body: bytes as they are, anything else as JSON. `headers`: `_` for `-`."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._client.post(f"{self.url}/mcp", content=content, headers=self._headers | more)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None, **headers: str) -> Any:
        """The result of a request, or its error."""
        more = {"MCP_Protocol_Version": REVISION, **headers}
        answer = await self.post(message(method, params), **more)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        told = answer.json()
        assert told["id"] == 7
        return told["result"] if "result" in told else told["error"]

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """The result of a call."""
        return await self.ask("tools/call", {"name": tool, "arguments": arguments})

    async def refused(self, tool: str, /, **arguments: Any) -> Any:
        """The API's error that a call is answered with."""
        return error_of(await self.call(tool, **arguments))


def message(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": 7, "method": method} | ({} if params is None else {"params": params})


def error_of(result: Any) -> Any:
    """The API's error in the result of a call."""
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    (content,) = result["content"]
    return json.loads(content["text"])["error"]


def told(result: mcp_types.CallToolResult) -> Any:
    """What a call answers: the same as text and as JSON."""
    assert not result.is_error, result
    (content,) = result.content
    assert isinstance(content, mcp_types.TextContent)
    assert json.loads(content.text) == result.structured_content
    return result.structured_content


@asynccontextmanager
async def raw(url: str, token: str | None) -> AsyncGenerator[Raw]:
    """Raw HTTP with a token."""
    async with loopback_client() as client:
        yield Raw(url, token, client)
