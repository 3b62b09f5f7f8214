"""Arguments that no schema allows: each call is answered, as the route would answer it.

LAPEL_FUZZ_EXAMPLES says how many calls each tool gets (`make test-deep`: 100). LAPEL_MCP_SEED repeats the
choices of the run that printed it.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import jsonschema
import pytest

from tests.mcp.clients import raw
from tests.support.declared import declared_operations
from tests.support.running import Running
from tests.support.tenants import Tenant

pytestmark = pytest.mark.deep

EXAMPLES = int(os.environ.get("LAPEL_FUZZ_EXAMPLES", "3"))
SEED = os.environ.get("LAPEL_MCP_SEED")
# The refusals that a client can cause, of all operations.
CODES = {error.code for each in declared_operations() for error in each.errors} | {
    "invalid_request",
    "not_found",
    "forbidden",
    "payload_too_large",
}
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 1e308, -0.0, 1.5, "", " ", "0", "a" * 2000, "\u00e4\U0001f600",
    "a\0b", "'; DROP TABLE x; --", "../..", "%2e%2e%2f", "a&limit=5", "a#b", "a=b", "\r\nX: y", "null", "me",
    "2026-01-15T12:00:00Z", "9999-12-31T23:59:59+00:01", "eu_1", "rec_1", "dev_1", "wh_1", "rec_" + "0" * 64,
    [], [None], ["a"] * 600, {}, {"a": {"b": [{}]}}, {"$ref": "#"}, [[[[]]]],
)  # fmt: skip


def drawn(chooser: random.Random, names: list[str]) -> dict[str, Any]:
    """Some arguments, each with a value that hardly fits."""
    taken = chooser.sample(names, chooser.randint(0, len(names)))
    return {name: chooser.choice(VALUES) for name in (*taken, chooser.choice(("nonsense", "id", "")))}


async def test_whatever_the_arguments_the_answer_is_the_routes(live: Running, tenant: Tenant) -> None:
    seed = SEED or str(random.randrange(2**32))
    print(f"LAPEL_MCP_SEED={seed}")
    chooser = random.Random(seed)
    async with raw(live.url, tenant.test_key) as http:
        tools = (await http.ask("tools/list"))["tools"]
        for tool in tools:
            names = sorted(tool["inputSchema"]["properties"])
            for _ in range(EXAMPLES):
                arguments = drawn(chooser, names)
                result = await http.call(tool["name"], **arguments)
                text = json.loads(result["content"][0]["text"])
                case = f"{tool['name']} {arguments}"
                if result.get("isError"):
                    assert text["error"]["code"] in CODES, f"{case}: {text}"
                else:
                    assert text == result["structuredContent"], case
                    jsonschema.validate(text, tool["outputSchema"])
