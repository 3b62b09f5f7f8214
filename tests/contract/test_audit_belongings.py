"""Each entry of the audit log loses values and address with the end user to whom it belongs.

The table in docs/audit.md says to whom the resources of each type belong; an operation whose type is not in
the table fails here.
"""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from tests.contract.belongings import (
    AUDITED,
    CHANGING_NOTHING,
    NOBODY,
    UNWORN,
    owners,
    prepare,
    resource_types,
)
from tests.support.matrix import callers

OF_REQUEST = """
SELECT a.resource_type, a.resource_id, d.end_user_id FROM audit_log a
JOIN audit_details d ON d.world_id = a.world_id AND d.entry_id = a.id
WHERE a.world_id = $1 AND a.request_id = $2
"""
# Entries of the operator's commands, of providers and of the server itself.
OTHERS = {"project", "organization", "provider", "transcription", "webhook"}


def test_the_page_says_to_whom_every_resource_belongs() -> None:
    assert set(owners()) == OTHERS.union(*(resource_types(each) for each in AUDITED))


@pytest.mark.parametrize(
    ("operation", "kind"),
    [(each, kind) for each, kind in callers(AUDITED) if each.name not in CHANGING_NOTHING],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_an_entry_belongs_to_whom_the_page_says(
    client: httpx.AsyncClient, ports: Ports, operation: Operation, kind: str
) -> None:
    things, request = await prepare(client, ports, operation)
    answer = await request.send(client, f"Bearer {things.token(kind, operation)}")
    assert answer.is_success, answer.text
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(OF_REQUEST, things.tenant.test_world, answer.headers["x-request-id"])
    ((type_, resource_id, end_user_id),) = rows
    assert {type_} == resource_types(operation)
    if kind == "key" and (owners()[type_] == NOBODY or operation.name in UNWORN):
        assert end_user_id is None
    elif type_ == "end_user":
        assert end_user_id == resource_id
    else:
        assert end_user_id == things.end_user.id


def test_what_was_not_called_belongs_to_nobody() -> None:
    left = [each for each in AUDITED if each.name in CHANGING_NOTHING]
    assert {owners()[type_] for each in left for type_ in resource_types(each)} == {NOBODY}
