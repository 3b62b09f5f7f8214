"""Every list shows the same rows in the same order, whole, walked by cursor and walked by offset."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from tests.contract.resources import Resources, call, populate
from tests.support.client import api_client
from tests.support.declared import declared_operations
from tests.support.running import Running

# `tests/retention/test_preview_and_run.py` walks the preview, whose list has no `offset`.
PAGED = [each for each in declared_operations() if {"cursor", "offset"} <= {*each.query.__struct_fields__}]
# Two rows of each kind where one is not made by `populate`.
MORE = (
    ("POST", "/v1/devices/{device_id}/commands", {"type": "stop_recording"}),
    ("PATCH", "/v1/config/upload", {"allow_roaming": True}),
    ("PATCH", "/v1/config/upload", {"allow_roaming": False}),
    ("DELETE", "/v1/recordings/{recording_id}", None),
    ("DELETE", "/v1/devices/{unbound_id}", None),
)


@pytest.fixture(scope="module")
async def shared(live: Running) -> AsyncGenerator[Resources]:
    async with api_client(live.url) as client:
        resources = await populate(client, live.ports)
        ids = {
            "device_id": resources.device.id,
            "recording_id": resources.recordings["sent"].id,
            "unbound_id": resources.unbound_device.id,
        }
        for method, path, body in MORE:
            answer = await client.request(
                method, path.format(**ids), json=body, headers=resources.tenant.headers
            )
            assert answer.is_success, answer.text
        yield resources


@pytest.mark.parametrize("operation", PAGED, ids=lambda each: each.name)
async def test_walks_by_cursor_and_by_offset_agree(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    path = call(operation, shared).path

    async def page(**query: Any) -> dict[str, Any]:
        answer = await client.get(path, params=query, headers=shared.tenant.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        for row in found["data"]:
            row.pop("last_used_at", None)  # of a key: written a while after it was used
        return found

    whole = await page(limit=100)
    rows = whole["data"]
    assert (rows != [], whole["has_more"], whole["next_cursor"]) == (True, False, None)
    by_cursor: list[Any] = []
    cursor = ""
    while len(by_cursor) <= len(rows):
        one = await page(limit=1, cursor=cursor)
        by_cursor += one["data"]
        cursor = one["next_cursor"]
        if cursor is None:
            break
    assert by_cursor == rows
    for offset in range(len(rows) + 1):
        assert (await page(limit=1, offset=offset))["data"] == rows[offset : offset + 1]
        assert (await page(limit=100, offset=offset))["data"] == rows[offset:]
