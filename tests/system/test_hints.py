"""What a refusal says to a client that made a usual mistake."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

from tests.support.client import api_client
from tests.support.running import Running
from tests.support.tenants import Tenant

GOOD = "Give a valid token: `Authorization: Bearer <token>`."


async def refused(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


async def test_a_missing_or_other_authorization_is_told(client: httpx.AsyncClient, tenant: Tenant) -> None:
    key = tenant.test_key
    basic = base64.b64encode(f"{key}:".encode()).decode()
    for header, said in (
        (None, "The request has no `Authorization` header."),
        (f"Basic {basic}", "`Authorization: Basic` is not taken."),
        (key, "The token stands without its scheme."),
        (f"Token {key}", "The `Authorization` header is not of the scheme `Bearer`."),
        ("x", "The `Authorization` header is not of the scheme `Bearer`."),
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = await client.get("/v1/recordings", headers=headers)
        error = await refused(answer, 401)
        assert (error["code"], error["message"]) == ("unauthorized", f"{said} {GOOD}")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert key not in answer.text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/recordings", "/v1/recordings"),
        ("/v1/recordings/", "/v1/recordings"),
        ("/v1/recording", "/v1/recordings"),
        ("/recording/", "/v1/recordings"),
        ("/v1/enduser", "/v1/end-users"),
        ("/v1/recordings/rec_1/upload_url", "/v1/recordings/rec_1/upload-url"),
        ("/v1/recordings/rec_1/", "/v1/recordings/rec_1"),
        ("/metric", None),
        ("/v1/zzz", None),
        ("/v1/recordings/a.b/upload_url", None),
        ("/v1/recordings/" + "x" * 5000 + "/", None),
        ("/v1" + "/" * 5000, None),
        ("/", None),
    ],
)
async def test_a_path_of_another_spelling_is_told(live: Running, path: str, meant: str | None) -> None:
    async with api_client(live.url) as client:
        error = await refused(await client.get(path), 404)
    hint = "The routes are listed at /v1/openapi.json." if meant is None else f"Did you mean `{meant}`?"
    assert error["message"] == f"There is nothing at this path. {hint}"


async def test_an_id_of_another_kind_is_told(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant
) -> None:
    """By its prefix alone: of an id that exists, exists elsewhere or nowhere, the same is said."""
    person = (await client.post("/v1/end-users", headers=tenant.headers)).json()["id"]
    recording = (
        await client.post("/v1/recordings", json={"end_user_id": person}, headers=tenant.headers)
    ).json()["id"]
    for headers in (tenant.headers, stranger.headers):
        for given in (recording, "rec_0"):
            answer = await client.post("/v1/recordings", json={"end_user_id": given}, headers=headers)
            error = await refused(answer, 404)
            assert error["message"].endswith(" `end_user_id` has the id of a recording."), error
    in_path = await refused(await client.get(f"/v1/recordings/{person}", headers=tenant.headers), 404)
    assert in_path["message"].endswith(" `recording_id` has the id of an end user.")
    for given in ("eu_nobody", "nonsense", "zzz_1", "eu_"):
        answer = await client.post("/v1/recordings", json={"end_user_id": given}, headers=tenant.headers)
        error = await refused(answer, 404)
        assert "has the id of" not in error["message"]


async def test_a_size_has_a_unit(client: httpx.AsyncClient, tenant: Tenant) -> None:
    person = (await client.post("/v1/end-users", headers=tenant.headers)).json()["id"]
    made = await client.post("/v1/recordings", json={"end_user_id": person}, headers=tenant.headers)
    path = f"/v1/recordings/{made.json()['id']}/upload-url"
    body = {"content_type": "audio/opus", "file_size_bytes": 2**40}
    error = await refused(await client.post(path, json=body, headers=tenant.headers), 400)
    assert (error["param"], error["message"]) == (
        "file_size_bytes", "`file_size_bytes` may be at most 2147483648 bytes (2 GiB) for `audio`.",
    )  # fmt: skip
