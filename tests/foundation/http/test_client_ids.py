"""The ids by which a client knows its request are in the lines of the log about it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import httpx
import pytest

from lapel.foundation import telemetry
from lapel.slices.system.service import Probe
from tests.mcp.clients import Raw
from tests.support.client import CHECKED
from tests.support.log_lines import logged_lines
from tests.support.patience import LONG
from tests.support.running import Running
from tests.support.tenants import Tenant

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"
Ids = tuple[str | None, str | None, str | None]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    with logged_lines() as stream:
        yield stream


def about(answer: httpx.Response, lines: io.StringIO) -> list[dict[str, str]]:
    """The lines about the request of this answer."""
    telemetry.flush_log()
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [each for each in found if each.get("request_id") == answer.headers["x-request-id"]]


async def logged(live: Running, lines: io.StringIO, *headers: tuple[str, str]) -> Ids:
    """The ids in the only line about a request with these headers."""
    async with httpx.AsyncClient(base_url=live.url, timeout=LONG, event_hooks=CHECKED) as client:
        answer = await client.get("/v1/nothing", headers=list(headers))
    (line,) = about(answer, lines)
    return line.get("trace_id"), line.get("parent_id"), line.get("client_request_id")


@pytest.mark.parametrize(
    "traceparent",
    [
        VALID,
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"fe-{TRACE}-{PARENT}-01-what-a-later-version-adds",
        f"cc-{TRACE}-{PARENT}-01-",
    ],
)
async def test_a_valid_traceparent_is_kept(live: Running, lines: io.StringIO, traceparent: str) -> None:
    assert await logged(live, lines, ("traceparent", traceparent)) == (TRACE, PARENT, None)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0X",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"01-{TRACE}-{PARENT}-01.more",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f"x{VALID}",
        f"{VALID}, {VALID}",
    ],
)
async def test_an_invalid_one_is_ignored(live: Running, lines: io.StringIO, traceparent: str) -> None:
    sent = (("traceparent", traceparent), ("x-request-id", "a-1"))
    assert await logged(live, lines, *sent) == (None, None, "a-1")


async def test_a_header_that_is_sent_twice_is_ignored(live: Running, lines: io.StringIO) -> None:
    trace, own = ("traceparent", VALID), ("x-request-id", "a-1")
    assert await logged(live, lines, trace, trace, own) == (None, None, "a-1")
    assert await logged(live, lines, trace, own, own) == (TRACE, PARENT, None)


@pytest.mark.parametrize("given", ["A-z_0.9~:/+=@", "x" * 128, "Root=1-67891233-abcdef012345678912345678"])
async def test_the_clients_request_id_is_kept_beside_ours(
    live: Running, lines: io.StringIO, given: str
) -> None:
    assert await logged(live, lines, ("x-request-id", given)) == (None, None, given)


@pytest.mark.parametrize("given", ["", "x" * 129, 'a"b', "a b", "a?b", "a\\u000a", "%0a", "{}"])
async def test_one_with_other_characters_is_ignored(live: Running, lines: io.StringIO, given: str) -> None:
    assert await logged(live, lines, ("x-request-id", given)) == (None, None, None)


async def test_a_token_that_is_sent_as_an_id_is_not_logged(live: Running, lines: io.StringIO) -> None:
    found = await logged(live, lines, ("x-request-id", f"sk_live_{'a' * 38}"))
    assert found == (None, None, "sk_live_***")
    assert "aaaa" not in lines.getvalue()


async def test_each_line_about_an_error_has_them(
    live: Running, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Probe) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Probe, "health", fail)
    async with httpx.AsyncClient(base_url=live.url, timeout=LONG, event_hooks=CHECKED) as client:
        headers = {"traceparent": VALID, "x-request-id": "a-1"}
        failed = await client.get("/health", headers=headers)
        after = await client.get("/health")
    assert failed.status_code == after.status_code == 500
    assert failed.headers["x-request-id"].startswith("req_")
    found = about(failed, lines)
    assert {each["event"] for each in found} == {"request", "request.failed"}
    for each in found:
        assert (each["trace_id"], each["parent_id"], each["client_request_id"]) == (TRACE, PARENT, "a-1")
    for each in about(after, lines):
        assert not each.keys() & {"trace_id", "parent_id", "client_request_id"}


async def test_the_request_of_a_tool_has_the_ids_of_the_call(
    live: Running, lines: io.StringIO, tenant: Tenant
) -> None:
    async with httpx.AsyncClient(timeout=LONG) as client:
        params = {"name": "list_devices", "arguments": {}}
        await Raw(live.url, tenant.test_key, client).ask(
            "tools/call", params, traceparent=VALID, X_Request_Id="a-1"
        )
    telemetry.flush_log()
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    asked = {each["operation"]: each for each in found if each["event"] == "request"}
    assert "list_devices" in asked
    assert {(each["trace_id"], each["client_request_id"]) for each in asked.values()} == {(TRACE, "a-1")}
