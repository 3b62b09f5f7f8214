"""Requests that leave an entry of the audit log on things of one end user, and to whom entries belong."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import httpx

from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from tests.contract.resources import Call, Resources, call, populate
from tests.support.declared import declared_operations

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
NOBODY = "nobody"
# The device of these is worn by nobody.
UNWORN = {"create_device", "delete_device"}
AUDITED = [each for each in declared_operations() if each.audit]
# On any things these change nothing, so they leave no entry. Their resources belong to nobody.
CHANGING_NOTHING = {"release_firmware", "replace_project_config", "resume_rollout"}
# What the operation ends or clears must be there: method, path, body.
BEFORE = {
    "cancel_firmware": ("POST", "/v1/devices/{device_id}/ota", {"firmware_release_id": "{release_id}"}),
    "clear_config": ("PATCH", "/v1/config/upload", {"allow_roaming": True}),
    "clear_device_config": ("PATCH", "/v1/devices/{device_id}/config/upload", {"allow_roaming": True}),
    "clear_end_user_config": ("PATCH", "/v1/end-users/{end_user_id}/config/upload", {"allow_roaming": True}),
}
# The newest event of a recording, in the place that the worker gives it.
EVENT = """
UPDATE events SET position = 2 WHERE world_id = $1 AND id = (
    SELECT id FROM events WHERE world_id = $1 AND type = 'recording.uploaded' LIMIT 1)
RETURNING id
"""


def owners() -> dict[str, str]:
    """The table of the page: type of resource -> to whom it belongs."""
    section = PAGE.read_text().partition("## What can be erased")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")][1:]
    return {name: owner.strip() for types, owner in rows for name in re.findall(r"`(\w+)`", types)}


def resource_types(operation: Operation) -> set[str]:
    """The types of the resources of its entries."""
    kind = (operation.audit or "").partition(".")[0]
    if kind == "hold":
        return {"end_user" if "end_user" in operation.name else "recording"}
    if kind == "config":
        at = operation.path.removeprefix("/v1/").partition("/")[0]
        return {{"end-users": "end_user", "devices": "device"}.get(at, "project")}
    return {kind}


async def prepare(client: httpx.AsyncClient, ports: Ports, operation: Operation) -> tuple[Resources, Call]:
    """Things of an end user, and a request of the operation that changes one of them."""
    things = await populate(client, ports)
    headers, world = things.tenant.headers, things.tenant.test_world
    if operation.name in BEFORE:
        method, path, body = BEFORE[operation.name]
        ids = things.ids(operation)
        filled = {name: v.format(**ids) if isinstance(v, str) else v for name, v in body.items()}
        answer = await client.request(method, path.format(**ids), json=filled, headers=headers)
        assert answer.is_success, answer.text
    if operation.name in {"revoke_api_key", "rotate_api_key"}:
        scoped = {"scopes": ["recordings:read"], "end_user_id": things.end_user.id}
        answer = await client.post("/v1/api-keys", json=scoped, headers=headers)
        things = replace(things, key_id=answer.json()["id"])
    if operation.name == "resend_event":
        async with ports.database.acquire() as connection:
            things = replace(things, event_id=await connection.fetchval(EVENT, world))
    request = call(operation, things)
    if operation.name == "create_api_key":
        request = replace(request, body={**(request.body or {}), "end_user_id": things.end_user.id})
    return things, request
