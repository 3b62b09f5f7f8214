"""Every operation, called by everybody who may and by everybody who may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import httpx
import pytest

from lapel import app
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.slices.projects.scopes import IMPLIED, SCOPES
from tests.audit.support import entries_of_request, expected_entries
from tests.contract.resources import Call, Resources, call, populate
from tests.support.declared import TOKEN_KINDS, declared_operations
from tests.support.matrix import (
    callers,
    private,
    refused_kinds,
    scopes_of_events,
    scopes_without,
    usual_caller,
    wrong_tokens,
)
from tests.support.populated import populated
from tests.support.running import Running
from tests.support.tenants import TABLES, Tenant, contents, forget_keys, make_key, make_tenant

Tokens: TypeAlias = Mapping[str, str]  # by the names of their cases
OPERATIONS = declared_operations()
PRIVATE = private(OPERATIONS)
# Every valid token may ask what it is, so nobody who comes with one is refused.
ABOUT_CALLERS = {"describe_caller"}
KINDS = refused_kinds(app.SLICES)
# These succeed again and again on the same things, in any order; a new operation gets things of its own.
REPEATABLE = {
    "create_api_key", "create_command", "create_device", "create_download_url", "create_recording",
    "create_rollout", "create_upload_url", "create_wifi_grant", "export_end_user", "hold_end_user",
    "hold_recording",
    "patch_device_settings", "put_device_settings",
    "replace_project_config", "send_heartbeat", "update_config", "update_device", "update_device_config",
    "update_end_user", "update_end_user_config", "update_recording",
    "create_webhook", "create_webhook_endpoint", "update_webhook", "update_webhook_endpoint",
    "rotate_webhook_secret", "rotate_webhook_endpoint_secret",
    "redeliver_webhook_delivery", "redeliver_webhook_endpoint_delivery", "redeliver_to_webhook",
    "redeliver_to_webhook_endpoint", "test_webhook",
    "test_webhook_endpoint", "resend_event",
}  # fmt: skip
# A device names itself here, and is told so when it names another one, whose id it then knows.
OF_ITSELF = {"refresh_device_token", "list_pending_commands", "acknowledge_command", "send_heartbeat"}


def named(operations: Sequence[Operation]) -> pytest.MarkDecorator:
    """One case per operation, called by its name."""
    return pytest.mark.parametrize("operation", operations, ids=lambda each: each.name)


@pytest.fixture(scope="module")
async def outsider(live: Running) -> Tenant:
    """Another project."""
    return await make_tenant(live.ports)


async def all_refused(
    client: httpx.AsyncClient, ports: Ports, things: Resources, request: Call, tokens: Tokens, status: int
) -> list[httpx.Response]:
    """The answers to a call that must be refused with each token, and must leave the world as it was."""
    before = await contents(ports, things.tenant.test_world)
    answers: list[httpx.Response] = []
    for name, token in tokens.items():
        answers.append(await request.send(client, f"Bearer {token}"))
        assert answers[-1].status_code == status, f"{name}: {answers[-1].text}"
    assert await contents(ports, things.tenant.test_world) == before
    return answers


async def refused(
    client: httpx.AsyncClient, ports: Ports, things: Resources, request: Call, token: str, status: int
) -> httpx.Response:
    """The answer to a call that must be refused with this token."""
    return (await all_refused(client, ports, things, request, {"token": token}, status))[0]


@pytest.fixture(scope="module")
async def lasting(live: Running) -> Resources:
    """One of everything, for the calls of REPEATABLE."""
    return await populated(live)


@pytest.fixture
async def things(
    operation: Operation, client: httpx.AsyncClient, ports: Ports, shared: Resources, lasting: Resources
) -> Resources:
    """What an allowed call may change; one that only reads finds the shared things."""
    if operation.method == "GET":
        return shared
    return lasting if operation.name in REPEATABLE else await populate(client, ports)


# --- those who may ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "kind"),
    callers(PRIVATE),
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_who_may_call_it_succeeds(
    client: httpx.AsyncClient, ports: Ports, things: Resources, operation: Operation, kind: str
) -> None:
    answer = await call(operation, things).send(client, f"Bearer {things.token(kind, operation)}")
    assert answer.status_code in (operation.status, *operation.also), answer.text
    entries = await entries_of_request(ports, things.tenant.test_world, answer.headers["x-request-id"])
    assert entries == expected_entries(operation, kind)


@named([each for each in PRIVATE if each.access.scope is not None])
async def test_a_restricted_key_with_just_the_scope_succeeds(
    client: httpx.AsyncClient, ports: Ports, things: Resources, operation: Operation
) -> None:
    assert operation.access.scope is not None
    scopes = {operation.access.scope, *operation.access.more_scopes, *scopes_of_events(operation)}
    if "api_key" in operation.name:  # a key may hand out no scope that it lacks itself: it needs one to give
        scopes.add("recordings:read")
    if operation.name == "get_event":  # it shows a resource, which the key must be allowed to read
        scopes |= {"devices:read", "recordings:read", "transcriptions:read", "summaries:read"}
    token = await make_key(ports, things.tenant.test_world, "rk_test", scopes=tuple(scopes))
    answer = await call(operation, things).send(client, f"Bearer {token}")
    assert answer.status_code in (operation.status, *operation.also), answer.text


@named([each for each in OPERATIONS if each.access.public])
async def test_a_public_operation_asks_for_no_token(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    for authorization in (None, "Bearer nonsense", f"Bearer {shared.tenant.test_key}"):
        answer = await call(operation, shared).send(client, authorization)
        assert answer.status_code in (operation.status, *operation.also)


async def test_no_secret_stands_in_the_database(client: httpx.AsyncClient, ports: Ports) -> None:
    resources = await populate(client, ports)
    headers = {**resources.tenant.headers, "Idempotency-Key": "secret"}
    made = await client.post("/v1/api-keys", json={"kind": "secret"}, headers=headers)
    tokens = [made.json()["key"], resources.tenant.test_key, resources.device.token, resources.end_user.token]
    tokens += [each.token for each in resources.recordings.values()]
    assert all(len(each) > 32 for each in tokens)
    async with ports.database.acquire() as connection:
        for table in [row["table_name"] for row in await connection.fetch(TABLES)]:
            rows = await connection.fetch(
                f"SELECT to_jsonb(t)::text FROM {table} t WHERE world_id = $1", resources.tenant.test_world
            )
            text = " ".join(row[0] for row in rows)
            # Columns of bytes are shown in hexadecimal.
            found = [each for each in tokens if each in text or each.encode().hex() in text]
            assert found == [], table


# --- 401 -------------------------------------------------------------------------------------------


@named(PRIVATE)
async def test_without_a_good_token_it_is_401(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    before = await contents(ports, shared.tenant.test_world)
    for name, authorization in wrong_tokens(shared.tenant.test_key).items():
        request = call(operation, shared)
        headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
        answer = await client.request(request.method, request.path, json=request.body, headers=headers)
        assert answer.status_code == 401, f"{name}: {answer.text}"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthorized"
    assert await contents(ports, shared.tenant.test_world) == before


@named(PRIVATE)
async def test_a_revoked_or_expired_key_is_401(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    revoked = await make_key(ports, shared.tenant.test_world, "sk_test")
    expired = await make_key(ports, shared.tenant.test_world, "sk_test", expires_at=ports.clock.now())
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE api_keys SET revoked_at = created_at WHERE world_id = $1 AND secret_hash = $2",
            shared.tenant.test_world,
            ports.hasher.hash(revoked),
        )
    tokens = {"revoked": revoked, "expired": expired}
    await all_refused(client, ports, shared, call(operation, shared), tokens, 401)
    await forget_keys(ports, shared.tenant.test_world, revoked, expired)


# --- 403 -------------------------------------------------------------------------------------------


@named([each for each in PRIVATE if each.name not in ABOUT_CALLERS])
async def test_without_the_scope_it_is_403_and_the_message_names_it(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    scopes = scopes_without(operation.access)
    token = await make_key(ports, shared.tenant.test_world, "rk_test", scopes=scopes)
    answer = await refused(client, ports, shared, call(operation, shared), token, 403)
    assert answer.json()["error"]["code"] == "forbidden"
    if operation.access.scope is not None:
        assert operation.access.scope in answer.json()["error"]["message"]
    await forget_keys(ports, shared.tenant.test_world, token)


# Of keys, `end_user_keys:write` reaches only those of end users: tests/projects/test_end_user_keys.py.
@named([each for each in PRIVATE if each.access.or_scope and "api_key" not in each.name])
async def test_a_key_with_the_other_scope_succeeds(
    client: httpx.AsyncClient, ports: Ports, things: Resources, operation: Operation
) -> None:
    assert operation.access.or_scope is not None
    scopes = {operation.access.or_scope, *operation.access.more_scopes}
    token = await make_key(ports, things.tenant.test_world, "rk_test", scopes=tuple(scopes))
    answer = await call(operation, things).send(client, f"Bearer {token}")
    assert answer.status_code in (operation.status, *operation.also), answer.text


@named([each for each in PRIVATE if each.access.more_scopes])
async def test_without_one_of_several_scopes_it_is_403_and_the_message_names_it(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    for missing in operation.access.more_scopes:
        scopes = [each for each in SCOPES if missing not in (each, *IMPLIED.get(each, frozenset()))]
        token = await make_key(ports, shared.tenant.test_world, "rk_test", scopes=tuple(scopes))
        answer = await refused(client, ports, shared, call(operation, shared), token, 403)
        assert missing in answer.json()["error"]["message"]
        await forget_keys(ports, shared.tenant.test_world, token)


@named([each for each in PRIVATE if each.name not in ABOUT_CALLERS])
async def test_tokens_of_another_kind_are_403(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    kinds = sorted({"key", *KINDS} - operation.access.callers)
    assert kinds
    tokens = {kind: shared.token(kind, operation) for kind in kinds}
    answers = await all_refused(client, ports, shared, call(operation, shared), tokens, 403)
    # Other reasons for a 403, such as the id of another device in the path, have other words.
    holders = {kind.name: kind.holder for kind in TOKEN_KINDS}
    for kind, answer in zip(kinds, answers, strict=True):
        assert answer.json()["error"]["message"].endswith(f", not {holders[kind]}.")


# --- 404: what belongs to somebody else is not there ----------------------------------------------------


async def sees_nothing(
    client: httpx.AsyncClient,
    ports: Ports,
    resources: Resources,
    operation: Operation,
    token: str,
    *,
    same_project: bool = False,
) -> None:
    """A call by somebody who may call the operation, but whose none of these things are."""
    request = call(operation, resources)
    if request.names_things_of_a_world if same_project else request.names_things:
        answer = await refused(client, ports, resources, request, token, 404)
        assert answer.json()["error"]["code"] == "not_found"
        return
    before = await contents(ports, resources.tenant.test_world)
    answer = await request.send(client, f"Bearer {token}")
    assert answer.status_code in (operation.status, *operation.also), answer.text
    seen = {each for each in resources.everything if each in answer.text}
    assert not seen
    after = await contents(ports, resources.tenant.test_world)
    if operation.method == "GET":
        assert after == before


@named([each for each in PRIVATE if "key" in each.access.callers])
async def test_another_projects_key_sees_nothing(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, outsider: Tenant, operation: Operation
) -> None:
    await sees_nothing(client, ports, shared, operation, outsider.test_key)


@named([each for each in PRIVATE if "key" in each.access.callers])
async def test_the_other_worlds_key_sees_nothing(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    await sees_nothing(client, ports, shared, operation, shared.tenant.live_key, same_project=True)


@named([each for each in PRIVATE if "key" in each.access.callers])
async def test_another_end_users_key_sees_nothing(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation
) -> None:
    token = shared.other_scoped_key
    if operation.access.end_user_keys == "deny":
        await refused(client, ports, shared, call(operation, shared), token, 403)
    else:
        await sees_nothing(client, ports, shared, operation, token)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (each, kind)
        for each in PRIVATE
        for kind in KINDS
        if kind in each.access.callers and each.name not in ABOUT_CALLERS
    ],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_another_holder_of_the_same_kind_sees_nothing(
    client: httpx.AsyncClient, ports: Ports, shared: Resources, operation: Operation, kind: str
) -> None:
    token = shared.foreign_token(kind, operation)
    if operation.name in OF_ITSELF:
        await refused(client, ports, shared, call(operation, shared), token, 403)
    elif operation.name == "create_recording":  # takes both from the token, whatever the body says
        answer = await call(operation, shared).send(client, f"Bearer {token}")
        assert answer.json()["end_user_id"] == shared.other_end_user.id
        assert answer.json()["device_id"] == shared.other_device.id
    else:
        await sees_nothing(client, ports, shared, operation, token)


@named([each for each in PRIVATE if each.parameters])
async def test_ids_that_nobody_has_are_404(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    request = call(operation, shared)
    kind = usual_caller(operation)
    if operation.name in OF_ITSELF and kind != "key":
        return  # 403 for any id but its own: see above
    for value in (
        "nothing",
        "rec_0",
        "dev_0",
        "x" * 128,
        "x" * 129,
        "%00",
        "%2e%2e",
        "a%2Fb",
        "%F0%9F%8E%99",
        "~",
    ):
        path = operation.path
        for name in operation.parameters:
            path = path.replace(f"{{{name}}}", value)
        answer = await client.request(
            request.method,
            path,
            json=request.body,
            headers={"Authorization": f"Bearer {shared.token(kind, operation)}"},
        )
        assert answer.status_code == 404, f"{value}: {answer.text}"
