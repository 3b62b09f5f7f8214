"""Each operation takes turns when its answer is large, or its answer is small, or it streams.

An operation that is in no list here fails, so that each new one is put into one of them.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import httpx
import pytest

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import Content, Reply
from lapel.foundation.http.operations import Operation, PlainHandler, StreamHandler
from lapel.foundation.ports import Ports
from tests.support.api import api_of
from tests.support.declared import declared_operations
from tests.support.tenants import Tenant

OPERATIONS = declared_operations()
# Answers to writes: what makes each of them small. Fields of a client's text have limits; those of metadata
# have 16 KiB.
SMALL = {
    "CreatedApiKey": "a key",
    "RotatedApiKey": "a key",
    "EndUser": "one row with metadata",
    "EndUserToken": "a token",
    "Device": "one row with metadata",
    "BoundDevice": "one row with metadata",
    "Command": "one row; the parameters of a command have their limit",
    "Release": "one row with notes",
    "Assignment": "one row",
    "Rollout": "one row",
    "Heartbeat": "a few commands and settings, for devices with little memory",
    "Recording": "one row with metadata; without media, because it is new",
    "Upload": "a link",
    "EncryptedUploadSession": "one row",
    "Transcription": "one row; without segments, because it is new",
    "Summary": "one row; without content, because it is new",
    "SummaryTemplate": "one row; instructions and sections have limits",
    "CreatedAskSession": "one answer of a model, which has a limit of tokens",
    "AskAnswer": "one answer of a model, which has a limit of tokens",
    "CreatedWebhook": "one row",
    "RotatedWebhook": "one row",
    "Delivery": "one row, without the bodies of its attempts",
    "Recovery": "a count",
    "SentTest": "one small event",
    "ResentEvent": "a count of deliveries",
}
ANY = Access("recordings:read")
# Reads that no statement measures before they are made; those with `sized` have tests in their slices.
READS = [
    each
    for each in OPERATIONS
    if isinstance(each.handler, PlainHandler) and each.method == "GET" and each.handler.sized is None
]


def test_every_answer_that_takes_no_turns_is_known_to_be_small() -> None:
    found = {
        each.handler.response.__name__
        for each in OPERATIONS
        if not isinstance(each.handler, (PlainHandler, StreamHandler))
    }
    assert found == set(SMALL)


def test_every_list_takes_turns() -> None:
    pages = [each for each in OPERATIONS if each.response and "has_more" in each.response.__struct_fields__]
    assert len(pages) > 20
    assert [each.name for each in pages if not isinstance(each.handler, PlainHandler)] == []


@pytest.mark.parametrize("operation", READS, ids=lambda each: each.name)
async def test_reads_whose_answers_were_large_take_turns(
    ports: Ports, tenant: Tenant, operation: Operation
) -> None:
    making, most, made = 0, 0, 0

    async def make(_call: object) -> Reply[Content]:
        nonlocal making, most, made
        making += 1
        most, made = max(making, most), made + 1
        await asyncio.sleep(0.01)
        making -= 1
        return Reply(b"x" * 100_000, headers=(("Content-Type", "text/plain"),))

    handler = operation.handler
    assert isinstance(handler, PlainHandler)
    api = api_of(ports, [replace(operation, access=ANY, handler=replace(handler, run=make))], body_limit=1000)
    path = re.sub(r"\{[a-z_]+\}", "x_1", operation.path)
    transport = httpx.ASGITransport(api)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers=tenant.headers
    ) as client:
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        assert most == 1
        answers = await asyncio.gather(*(client.get(path) for _ in range(3)))
    assert {len(each.content) for each in answers} == {100_000}
    assert (most, made) == (1, 4)
