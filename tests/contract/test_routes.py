"""Paths and methods that are not served: 404 and 405, for every route."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from tests.contract.resources import Resources, bearer_of, call, named
from tests.support.declared import declared_operations
from tests.support.tenants import Tenant

OPERATIONS = declared_operations()


@named(OPERATIONS)
async def test_methods_that_a_path_lacks_are_405_with_allow(
    client: httpx.AsyncClient, shared: Resources, operation: Operation
) -> None:
    there: set[str] = {each.method for each in OPERATIONS if each.path == operation.path}
    allowed = sorted(there | ({"HEAD"} if "GET" in there else set()))
    path = call(operation, shared).path
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - {*allowed}:
        answer = await client.request(method, path, headers=bearer_of(operation, shared))
        # Whatever is a method at all is 405; what is not is refused before it gets to us.
        assert answer.status_code == 405 or (method == "BREW" and answer.status_code == 400), method
        if answer.status_code == 405:
            assert answer.headers["allow"] == ", ".join(allowed)
            if method != "HEAD":
                assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v2/recordings", "/v1/recordings/", "/v1//recordings", "/v1/nothing",
     "/v1/recordings/a/b/c", "/v1/%72ecordings/", "/favicon.ico", "/..", "/v1/../health/", "/%00", "/\xe4"],
)  # fmt: skip
async def test_unknown_routes_are_404_with_or_without_a_token(
    client: httpx.AsyncClient, tenant: Tenant, path: str
) -> None:
    for headers in ({}, tenant.headers, {"Authorization": "nonsense"}):
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "not_found"


async def test_what_is_not_served_is_404(client: httpx.AsyncClient, shared: Resources) -> None:
    recordings, devices = "/v1/recordings/rec_1", "/v1/devices/dev_1"
    for path in (
        f"{recordings}/upload-chunk",
        f"{recordings}/multipart-upload",
        f"{recordings}/upload-relay",
        f"{recordings}/streaming-sessions",
        f"{recordings}/streaming-status",
        f"{recordings}/markers",
        "/v1/recordings/streaming-sessions",
        "/v1/recordings/streaming-sessions/x",
        f"{devices}/grant",
        f"{devices}/factory-reset-grant",
        "/v1/ble-pubkey",
        f"{devices}/ble-pubkey",
        "/v1/video-summaries",
        "/v1/dashboard",
        "/v1/dashboard/recordings",
    ):
        for method in ("GET", "POST"):
            answer = await client.request(method, path, headers=shared.tenant.headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
