"""What no operation knows: a parameter of a query is refused, a field of a body is named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from lapel.foundation.http import authorization
from lapel.foundation.http.operations import Operation
from tests.contract.resources import Resources, bearer_of, call, named
from tests.support.declared import declared_operations
from tests.support.tenants import Tenant

# Without a token: health, the document, public keys. None takes a parameter.
PUBLIC = [each for each in declared_operations() if each.access is authorization.PUBLIC]
OPERATIONS = [each for each in declared_operations() if each not in PUBLIC]
READING = [each for each in OPERATIONS if each.method == "GET"]
# Forms are no JSON.
TAKING_JSON = [each for each in OPERATIONS if each.method != "GET" and not each.files]
# Of these bodies an unknown field is always refused.
REFUSING = {
    "create_api_key",
    "rotate_api_key",
    "issue_end_user_token",
    "update_config",
    "update_end_user_config",
    "update_device_config",
    "replace_project_config",
    "create_rollout",
    "resend_event",
}
# These answers have a secret or a signed link too. Clients of the public API send the bodies, so an unknown
# field is ignored. Lapel's own acknowledgement makes no credential: its answer repeats that of the command.
LENIENT = {
    "bind_device",
    "create_command",
    "acknowledge_command",
    "create_wifi_grant",
    "create_upload_url",
    "create_download_url",
    "create_encrypted_staging_url",
    "create_webhook",
    "update_webhook",
    "create_webhook_endpoint",
    "update_webhook_endpoint",
}
SECRETS = ("key", "token", "secret", "blob", "url")
FILTERS = [
    (operation, name)
    for operation in READING
    for name in operation.query.__struct_fields__
    if name not in ("cursor", "limit", "offset")
]
PAGED = [each for each in READING if "cursor" in each.query.__struct_fields__]


async def ask(
    client: httpx.AsyncClient, operation: Operation, shared: Resources, *, method: str = "", **more: Any
) -> httpx.Response:
    request = call(operation, shared)
    headers = {**bearer_of(operation, shared), **more.pop("headers", {})}
    return await client.request(method or request.method, request.path, headers=headers, **more)


@named(OPERATIONS)
async def test_an_unknown_parameter_is_400(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await ask(client, operation, shared, params={"nobody_knows": "1"})
    assert answer.status_code == 400, answer.text[:300]
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "nobody_knows")


@named(PUBLIC)
async def test_what_a_probe_adds_against_caches_is_ignored(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await ask(client, operation, shared, params={"_": "1764633600"})
    assert answer.status_code == 200, answer.text[:300]


@named(PAGED)
async def test_a_repeated_parameter_is_400(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await ask(client, operation, shared, params=[("limit", "1"), ("limit", "2")])
    assert answer.status_code == 400, answer.text[:300]
    assert answer.json()["error"]["param"] == "limit"


@named(READING)
async def test_head_refuses_what_get_refuses(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await ask(client, operation, shared, method="HEAD", params={"nobody_knows": "1"})
    assert answer.status_code == 400


@pytest.mark.parametrize(("operation", "name"), FILTERS, ids=lambda each: getattr(each, "name", each))
async def test_an_empty_filter_is_400(
    client: httpx.AsyncClient, shared: Resources, operation: Operation, name: str
) -> None:
    answer = await ask(client, operation, shared, params={name: ""})
    assert answer.status_code == 400, answer.text[:300]
    assert answer.json()["error"]["param"] == name


@named(PAGED)
async def test_an_empty_cursor_counts_as_absent(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    answer = await ask(client, operation, shared, params={"cursor": "", "limit": ""})
    assert answer.status_code == 200, answer.text[:300]


async def test_a_slip_does_not_list_everybodys_recordings(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await client.get("/v1/recordings", params={"enduser_id": "eu_1"}, headers=tenant.headers)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == "enduser_id"
    assert "Did you mean `end_user_id`?" in error["message"]


@named(TAKING_JSON)
async def test_a_strict_client_hears_of_an_unknown_field(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    body = {**(call(operation, shared).body or {}), "nobody_knows": {"a": 1}}
    answer = await ask(client, operation, shared, json=body, headers={"Lapel-Strict": "true"})
    assert answer.status_code == 400, answer.text[:300]
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "nobody_knows")


@pytest.mark.parametrize("header", [{}, {"Lapel-Strict": "false"}], ids=["without", "false"])
@named([each for each in TAKING_JSON if each.name in REFUSING])
async def test_an_unknown_field_is_refused_without_the_header_too(
    client: httpx.AsyncClient, shared: Resources, operation: Operation, header: dict[str, str]
) -> None:
    body = {**(call(operation, shared).body or {}), "nobody_knows": {"a": 1}}
    answer = await ask(client, operation, shared, json=body, headers=header)
    assert answer.status_code == 400, answer.text[:300]
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "nobody_knows")
    assert "Warning" not in answer.headers


async def test_the_document_says_which_bodies_refuse_unknown_fields(client: httpx.AsyncClient) -> None:
    described = (await client.get("/v1/openapi.json")).json()
    schemas = described["components"]["schemas"]
    closed: set[str] = set()
    for path in described["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            schema = schemas[content["schema"]["$ref"].rpartition("/")[2]] if content else {}
            if schema.get("additionalProperties") is False:
                closed.add(operation["operationId"])
    assert closed == REFUSING


def test_every_body_that_makes_a_credential_refuses_unknown_fields() -> None:
    """A misspelled field must not make a credential that may do more, or lives longer, than asked."""
    making = {
        each.name
        for each in TAKING_JSON
        if each.response is not None
        and each.body.__struct_fields__
        and any(name.rpartition("_")[2] in SECRETS for name in each.response.__struct_fields__)
    }
    assert making - REFUSING == LENIENT


async def test_an_unknown_field_is_named_and_ignored(client: httpx.AsyncClient, tenant: Tenant) -> None:
    headers = {**tenant.headers, "Idempotency-Key": "the-first"}
    body = {"external_id": "p1", "metdata": {}, "a\r\nb": 1, "metadata": {"anything": 1}}
    first = await client.post("/v1/end-users", json=body, headers=headers)
    again = await client.post("/v1/end-users", json=body, headers=headers)
    assert first.status_code == again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    warning = '299 lapel "Unknown fields are ignored: metdata, a%0D%0Ab"'
    assert first.headers["Warning"] == again.headers["Warning"] == warning
    taken = await client.post("/v1/end-users", json=body, headers=tenant.headers)
    assert (taken.status_code, taken.headers["Warning"]) == (409, warning)
    known = {"external_id": "p2", "metadata": {"anything": 1}}
    answer = await client.post("/v1/end-users", json=known, headers=tenant.headers)
    assert "Warning" not in answer.headers


async def test_a_strict_client_hears_what_was_meant(client: httpx.AsyncClient, tenant: Tenant) -> None:
    headers = {**tenant.headers, "Lapel-Strict": "true", "Idempotency-Key": "strict"}
    answer = await client.post("/v1/end-users", json={"metdata": {}}, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "`metdata` is not known here. Did you mean `metadata`?"
    # Nothing was kept under the key.
    mended = await client.post("/v1/end-users", json={"metadata": {"a": {"b": 1}}}, headers=headers)
    assert mended.status_code == 201


async def test_a_nested_field_is_named_by_its_path(client: httpx.AsyncClient, tenant: Tenant) -> None:
    device = await client.post("/v1/devices", json={"serial_number": "NEST0"}, headers=tenant.headers)
    path = f"/v1/devices/{device.json()['id']}"
    body = {"settings": {"nobody_knows": 1, "audio": {"codec": "opus", "kodec": "aac"}}}
    answer = await client.patch(path, json=body, headers=tenant.headers)
    assert answer.status_code == 200
    ignored = "settings.nobody_knows, settings.audio.kodec"
    assert answer.headers["Warning"] == f'299 lapel "Unknown fields are ignored: {ignored}"'
    strict = await client.patch(path, json=body, headers={**tenant.headers, "Lapel-Strict": "TRUE"})
    assert (strict.status_code, strict.json()["error"]["param"]) == (400, "settings.nobody_knows")


@pytest.mark.parametrize("value", ["1", "yes", ""])
async def test_the_header_is_true_or_false(client: httpx.AsyncClient, tenant: Tenant, value: str) -> None:
    answer = await client.post("/v1/end-users", headers={**tenant.headers, "Lapel-Strict": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Lapel-Strict")
    no = await client.post(
        "/v1/end-users", json={"a": 1}, headers={**tenant.headers, "Lapel-Strict": "false"}
    )
    assert no.status_code == 201


@pytest.mark.parametrize("strict", [False, True])
async def test_a_part_of_a_form_is_named(client: httpx.AsyncClient, tenant: Tenant, strict: bool) -> None:
    answer = await client.post(
        "/v1/firmware-releases",
        data={"version": "1.0.0", "model": "wear_1", "relese_notes": "x"},
        files={"bin": ("update.bin", b"firmware")},
        headers={**tenant.headers, **({"Lapel-Strict": "true"} if strict else {})},
    )
    if strict:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "relese_notes")
    else:
        assert answer.status_code == 201
        assert answer.headers["Warning"] == '299 lapel "Unknown fields are ignored: relese_notes"'
