"""With a disk that is nearly full every route that would leave something behind says so."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.core.disk_guard import DiskGuard
from lapel.foundation.ports import Ports
from tests.contract.resources import call, populate
from tests.foundation.openapi.test_document import STORES_NOTHING
from tests.support.declared import declared_operations
from tests.support.matrix import usual_caller
from tests.support.tenants import bearer


async def test_what_would_be_kept_is_refused_and_the_rest_goes_on(
    client: httpx.AsyncClient, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources = await populate(client, ports)
    monkeypatch.setattr(DiskGuard, "low", lambda _: True)
    refused: set[str] = set()
    writing = [each for each in declared_operations() if each.method not in ("GET", "DELETE")]
    for operation in writing:
        request = call(operation, resources)
        token = resources.token(usual_caller(operation), operation)
        answer = await client.request(request.method, request.path, json=request.body, headers=bearer(token))
        if answer.status_code == 503:
            assert "disk" in answer.json()["error"]["message"]
            refused.add(operation.name)
    assert refused == {each.name for each in writing} - STORES_NOTHING
