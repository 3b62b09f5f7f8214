"""The clients of tests check the answers of the API, also those of faults, lost answers and commands."""

from __future__ import annotations

import ast
from pathlib import Path

import httpx
import pytest

from tests.support.client import CHECKED, api_client
from tests.support.plain_http import http

TESTS = Path(__file__).parents[1]
MAKERS = {"httpx.Client", "httpx.AsyncClient", "loopback_client"}
# Where a client without a check is made, and why.
UNCHECKED = {
    "ask/test_streams.py": "it reads streams, or leaves them",
    "ask/test_unsupported_sentences.py": "it reads streams",
    "conformance/test_embedded_reading.py": "the store's answers",
    "contract/test_list_plans.py": "rows of the test's own, which no route would have made",
    "contract/test_large_answers.py": "answers that only look like those of the operations",
    "embedded/s3/calls/test_slow_readers.py": "the store's answers",
    "embedded/s3/protocol/test_body.py": "the store's answers",
    "foundation/http/test_api.py": "operations of the test's own",
    "foundation/http/test_client_ids.py": "messages of MCP",
    "foundation/http/test_direct.py": "operations of the test's own",
    "foundation/http/test_lasting.py": "operations of the test's own",
    "foundation/http/test_mounts.py": "operations of the test's own",
    "foundation/http/test_turns_of_large_answers.py": "operations of the test's own",
    "hosting/test_roles.py": "over TLS, for the health and the store alone",
    "mcp/clients.py": "messages of MCP",
    "mcp/test_protocol.py": "messages of MCP",
    "docs/test_receivers.py": "the receiver's answers",
    "slices/test_toy.py": "a slice of the test's own",
    "stateful/caller.py": "it checks each answer itself",
    "support/event_stream.py": "it reads streams",
    "support/transport.py": "it makes the client that others check with",
    "system/test_routes.py": "paths that only look like those of the document",
    "transcription/test_long_exports.py": "an answer that breaks off",
}


def test_only_these_clients_check_nothing() -> None:
    found = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        for text in [path.read_text(encoding="utf-8")]
        if any(maker in text for maker in MAKERS)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in MAKERS
        and "event_hooks" not in {each.arg for each in node.keywords}
    }
    assert found == set(UNCHECKED)


def answer(path: str) -> httpx.Response:
    """An answer that no document describes."""
    return httpx.Response(200, json={"data": 1}, request=httpx.Request("GET", f"http://h{path}"))


async def test_an_answer_that_is_not_as_documented_is_refused() -> None:
    with pytest.raises(AssertionError):
        http.event_hooks["response"][0](answer("/v1/devices"))
    http.event_hooks["response"][0](answer("/bucket/object"))
    async with api_client() as client:
        assert client.event_hooks["response"] == CHECKED["response"]
        with pytest.raises(AssertionError):
            await client.event_hooks["response"][0](answer("/v1/devices"))
        await client.event_hooks["response"][0](answer("/store/bucket/object"))
