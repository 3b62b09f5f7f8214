"""An object read twice around a call agrees in everything that the call does not change.

Every operation is called, and around it all objects of the world are read. What may differ stands in
`CHANGES`; an optional key that appears or disappears is a difference.
"""

from __future__ import annotations

from typing import Any

import httpx

from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from tests.contract.resources import Resources, call, populate
from tests.support.declared import declared_operations
from tests.support.matrix import usual_caller

Objects = dict[str, dict[str, Any]]
LISTS = (
    "/end-users", "/devices", "/recordings", "/transcriptions?include=words", "/firmware-releases",
    "/devices/{device_id}/commands", "/devices/{device_id}/ota/history", "/api-keys",
    "/webhooks",
)  # fmt: skip
ALONE = {
    "eu": "/end-users/{}", "dev": "/devices/{}", "rec": "/recordings/{}", "fw": "/firmware-releases/{}",
    "txn": "/transcriptions/{}?include=words", "cmd": "/devices/{device_id}/commands/{}",
    "wh": "/webhooks/{}",
}  # fmt: skip
DELIVERED = {"cmd.status", "cmd.delivered_at"}
# What an operation changes: a field of an object, `+` an object that is new, `-` one that is gone.
CHANGES: dict[str, set[str]] = {
    "list_pending_commands": DELIVERED,
    "acknowledge_command": {"cmd.status", "cmd.executed_at"},
    "create_command": {"+cmd"},
    "cancel_command": {"cmd.status"},
    "create_api_key": {"+key"},
    "rotate_api_key": {"+key", "key.expires_at", "key.rotated_to"},
    "revoke_api_key": {"key.revoked_at"},
    "create_end_user": {"+eu"},
    "update_end_user": {"eu.external_id", "eu.name", "eu.email", "eu.updated_at"},
    # With it goes what it owns and what its device was told and called; its device is unbound.
    "delete_end_user": {
        "-eu", "-rec", "-txn", "-cmd", "dev.name", "dev.status", "dev.end_user_id", "dev.bound_at",
        "dev.updated_at",
    },
    "create_device": {"+dev"},
    "update_device": {"dev.name", "dev.firmware_version", "dev.updated_at"},
    "put_device_settings": {"dev.updated_at"},  # to what they are
    "patch_device_settings": {"dev.updated_at"},  # to what they are
    "delete_device": {"-dev"},
    "bind_device": {
        "dev.status", "dev.end_user_id", "dev.bound_at", "dev.binding_generation", "dev.updated_at",
    },
    "unbind_device": {
        "dev.name", "dev.status", "dev.end_user_id", "dev.bound_at", "dev.updated_at", "cmd.status",
    },
    "send_heartbeat": {
        "dev.name", "dev.firmware_version", "dev.signal_strength_dbm", "dev.recording_state",
        "dev.last_heartbeat_at", "dev.last_seen_at", "dev.updated_at", *DELIVERED,
        "ota.status", "ota.delivered_at",
    },
    "create_firmware_release": {"+fw"},
    "assign_firmware": {"+ota"},
    "create_recording": {"+rec"},
    "update_recording": {"rec.name", "rec.updated_at"},
    "delete_recording": {"-rec"},
    "create_upload_url": {"rec.media"},
    "complete_upload": {
        "rec.status", "rec.media", "rec.content_sha256", "rec.content_sha256_verified_at",
        "rec.file_size_bytes", "rec.mime_type", "rec.duration_ms", "rec.duration_seconds", "rec.uploaded_at",
        "rec.updated_at", "dev.last_synced_at",
    },
    "create_encrypted_upload_session": {"rec.recording_uuid", "rec.recording_generation", "rec.updated_at"},
    "recover_webhook": {"wh.recovery"},
    "recover_webhook_endpoint": {"wh.recovery"},
    "create_transcription": {"+txn"},
    "transcribe_recording": {"+txn"},
    **{
        name.format(noun): changed
        for noun in ("webhook", "webhook_endpoint")
        for name, changed in {
            "create_{}": {"+wh"},
            "update_{}": {"wh.url", "wh.events", "wh.description", "wh.updated_at"},
            "rotate_{}_secret": {"wh.updated_at"},
            "delete_{}": {"-wh"},
        }.items()
    },
}  # fmt: skip
# In a world of their own, because the others need what these end.
ENDING = {"update_end_user", "update_device", "pause_rollout", "resume_rollout", "transcribe_recording"}
LATE = (
    "send_heartbeat", "transcribe_recording", "refresh_device_token", "unbind_device", "delete_recording",
    "delete_end_user",
)  # fmt: skip


def prefix(id_: str) -> str:
    return id_.partition("_")[0]


async def objects(client: httpx.AsyncClient, resources: Resources) -> Objects:
    """Every object of the world, by its id."""
    seen: Objects = {}
    for path in LISTS:
        named = path.format(device_id=resources.device.id)
        answer = await client.get(f"/v1{named}", headers=resources.tenant.headers)
        seen |= {each["id"]: each for each in answer.json()["data"]}
    for each in seen.values():
        each.pop("last_used_at", None)  # of a key: written a while after it was used
    return seen


def differences(before: Objects, after: Objects) -> set[str]:
    """As `CHANGES` writes them."""
    found = {f"-{prefix(each)}" for each in before.keys() - after.keys()}
    found |= {f"+{prefix(each)}" for each in after.keys() - before.keys()}
    for id_ in before.keys() & after.keys():
        one, other = before[id_], after[id_]
        names = {name for name in one.keys() | other.keys() if one.get(name, ...) != other.get(name, ...)}
        found |= {f"{prefix(id_)}.{name}" for name in names}
    return found


def test_a_key_that_vanishes_is_a_difference() -> None:
    one: Objects = {"eu_1": {"name": None, "email": "a"}, "dev_1": {}}
    assert differences(one, one) == set()
    assert differences(one, {"eu_1": {"email": "a"}, "rec_1": {}}) == {"eu.name", "-dev", "+rec"}


def in_order(operation: Operation) -> tuple[bool, int]:
    """Reads first, and last what ends that which others need."""
    late = LATE.index(operation.name) if operation.name in LATE else -1
    return operation.method != "GET", late


async def test_a_call_changes_nothing_else(client: httpx.AsyncClient, ports: Ports) -> None:
    lasting, ending = await populate(client, ports), await populate(client, ports)
    state = {id(each): await objects(client, each) for each in (lasting, ending)}
    private = [each for each in declared_operations() if not each.access.public]
    found: dict[str, set[str]] = {}
    for operation in sorted(private, key=in_order):
        ends = operation.method == "DELETE" or operation.name in ENDING
        resources = ending if ends else lasting
        kind = usual_caller(operation)
        request = call(operation, resources)
        answer = await request.send(client, f"Bearer {resources.token(kind, operation)}")
        assert answer.is_success, (operation.name, answer.text)
        if operation.method == "GET" and operation.name not in CHANGES:
            continue  # what any of them changed shows at the next one
        before = state[id(resources)]
        after = state[id(resources)] = await objects(client, resources)
        found[operation.name] = differences(before, after)
    wrong = {name: changed ^ CHANGES.get(name, set()) for name, changed in found.items()}
    assert {name: fields for name, fields in wrong.items() if fields} == {}
    assert found.keys() >= CHANGES.keys()


async def test_a_listed_object_is_as_it_is_alone(client: httpx.AsyncClient, ports: Ports) -> None:
    resources = await populate(client, ports)
    listed = await objects(client, resources)
    assert {prefix(each) for each in listed} >= ALONE.keys()
    for id_, shown in listed.items():
        if prefix(id_) in ALONE:
            path = ALONE[prefix(id_)].format(id_, device_id=resources.device.id)
            alone = await client.get(f"/v1{path}", headers=resources.tenant.headers)
            assert alone.json() == shown
            assert shown.get("project_id", resources.tenant.project_id) == resources.tenant.project_id
