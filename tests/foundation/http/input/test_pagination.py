"""Lists: a walk in pages shows what existed at its start, once each, whatever is written meanwhile."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.pagination import PageQuery, page, place_page, read_place, window
from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 29), timezones=st.just(UTC))  # noqa: DTZ001
IDS = st.from_regex(r"\A[a-z]{2,5}_[A-Za-z0-9]{1,64}\Z")
INSERT = """
INSERT INTO end_users (world_id, id, external_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
"""


@dataclass
class Row:
    """Stands for a record: rows by name."""

    id: str
    created_at: datetime

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def cursor_after(moment: datetime, row_id: str, list_name: str = "devices") -> str:
    """What the list gives behind this row."""
    rows: Any = [Row(row_id, moment)] * 2
    cursor = page(rows, window(PageQuery(limit=1), list_name), lambda row: row)[2]
    assert cursor is not None
    return cursor


@given(MOMENTS, IDS)
def test_a_cursor_carries_the_full_time_and_the_id(moment: datetime, row_id: str) -> None:
    cursor = cursor_after(moment, row_id)
    asked = window(PageQuery(cursor=cursor), "devices")
    assert (asked.before_time, asked.before_id) == (moment, row_id)
    assert 1 <= len(cursor) <= 2048
    assert cursor.isascii()
    assert cursor.isprintable()
    assert " " not in cursor


@given(st.text(min_size=1, max_size=60))
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        window(PageQuery(cursor=cursor), "devices")
    assert refused.value.param == "cursor"


@given(MOMENTS, IDS, st.data())
def test_a_changed_cursor_is_refused(moment: datetime, row_id: str, data: st.DataObject) -> None:
    cursor = cursor_after(moment, row_id)
    at = data.draw(st.integers(0, len(cursor) - 2))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_").filter(lambda each: each != cursor[at]))
    with pytest.raises(InvalidRequest):
        window(PageQuery(cursor=cursor[:at] + other + cursor[at + 1 :]), "devices")


@given(MOMENTS, IDS)
def test_a_cursor_of_another_list_is_refused(moment: datetime, row_id: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        window(PageQuery(cursor=cursor_after(moment, row_id, "end_users")), "devices")
    assert refused.value.param == "cursor"


@pytest.mark.parametrize(
    "text", ["x.rec_1", "99999999999999999999.rec_1", ".rec_1", "1", "1." + "r" * 5000, "1.\0"]
)
def test_a_cursor_with_a_right_checksum_and_a_wrong_content_breaks_nothing(text: str) -> None:
    checksum = f"{crc32(f'devices:{text}'.encode()):08x}"
    cursor = base64.urlsafe_b64encode(f"{text}.{checksum}".encode()).decode().rstrip("=")
    try:
        asked = window(PageQuery(cursor=cursor), "devices")
    except InvalidRequest:
        return
    assert isinstance(asked.before_time, datetime)
    assert "\0" not in asked.before_id


@pytest.mark.parametrize(
    ("rows", "limit", "more"), [(0, 5, False), (5, 5, False), (6, 5, True), (1, 1, False)]
)
def test_a_page_holds_no_more_than_its_limit(rows: int, limit: int, more: bool) -> None:
    asked = window(PageQuery(limit=limit), "devices")
    assert asked.fetch == limit + 1
    read: Any = [Row(f"rec_{n}", datetime(2026, 1, 15, tzinfo=UTC)) for n in range(rows)]
    data, has_more, cursor = page(read, asked, lambda row: row["id"])
    assert data == [f"rec_{n}" for n in range(min(rows, limit))]
    assert has_more is more
    assert (cursor is not None) is more


@given(st.lists(st.integers(0, 2**19), min_size=1, max_size=12))
@settings(max_examples=25)
def test_a_page_ends_before_a_mebibyte_and_has_at_least_one_row(sizes: list[int]) -> None:
    asked = window(PageQuery(limit=10), "devices")
    read: Any = [Row(f"rec_{n}", datetime(2026, 1, 15, tzinfo=UTC)) for n in range(len(sizes))]
    texts = {f"rec_{n}": "x" * size for n, size in enumerate(sizes)}
    data, has_more, cursor = page(read[: asked.fetch], asked, lambda row: texts[row["id"]])
    body = json.dumps({"data": data, "has_more": has_more, "next_cursor": cursor}, separators=(",", ":"))
    assert data == list(texts.values())[: len(data)]
    assert data
    assert len(body) <= 2**20 or len(data) == 1
    assert has_more is (len(data) < len(sizes))
    left_out = len(texts[f"rec_{len(data)}"]) if has_more else 0
    assert not has_more or len(data) == 10 or len(body) + left_out > 2**20 - 8192


async def walk(client: httpx.AsyncClient, tenant: Tenant, limit: int) -> list[list[str]]:
    """The ids of each page."""
    pages: list[list[str]] = []
    cursor = ""
    while True:
        path = f"/v1/end-users?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        answer = (await client.get(path, headers=tenant.headers)).json()
        pages.append([each["id"] for each in answer["data"]])
        if not answer["has_more"]:
            assert answer["next_cursor"] is None
            return pages
        assert answer["data"]
        cursor = answer["next_cursor"]


async def make(ports: Ports, tenant: Tenant, moments: list[datetime]) -> list[str]:
    """End users created at these moments; their ids, newest first."""
    made = [(moment, ports.ids.new("eu")) for moment in moments]
    async with ports.database.acquire() as connection:
        for moment, user in made:
            await connection.execute(INSERT, tenant.test_world, user, None, moment)
    return [user for _, user in sorted(made, reverse=True)]


@pytest.mark.parametrize("limit", [1, 2, 7, 20, 100])
async def test_a_walk_shows_everything_once_newest_first(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports, limit: int
) -> None:
    start = datetime(2026, 1, 15, 12, tzinfo=UTC)
    # Many of the same moment, some a microsecond apart, in no order.
    moments = [start + timedelta(microseconds=(n * 7) % 5) for n in range(23)]
    expected = await make(ports, tenant, moments)
    pages = await walk(client, tenant, limit)
    assert [each for shown in pages for each in shown] == expected
    assert all(len(shown) <= limit for shown in pages)


async def test_a_walk_is_steady_while_rows_come_and_go(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    start = datetime(2026, 1, 15, 12, tzinfo=UTC)
    there = await make(ports, tenant, [start] * 10 + [start + timedelta(seconds=n) for n in range(10)])
    seen: list[str] = []
    cursor, step = "", 0
    while True:
        path = "/v1/end-users?limit=3" + (f"&cursor={cursor}" if cursor else "")
        answer = (await client.get(path, headers=tenant.headers)).json()
        seen += [each["id"] for each in answer["data"]]
        if not answer["has_more"]:
            break
        cursor = answer["next_cursor"]
        await make(ports, tenant, [start + timedelta(days=1 + step)])  # newer ones
        await client.delete(f"/v1/end-users/{seen[step]}", headers=tenant.headers)  # and fewer shown ones
        step += 1
    assert seen == there


async def test_no_list_takes_the_cursor_of_another(client: httpx.AsyncClient, tenant: Tenant) -> None:
    headers = tenant.headers
    for number in range(2):
        user = (await client.post("/v1/end-users", json={}, headers=headers)).json()["id"]
        await client.post("/v1/devices", json={"serial_number": f"PIN000{number}"}, headers=headers)
        await client.post("/v1/recordings", json={"end_user_id": user}, headers=headers)
        await client.post("/v1/api-keys", json={"scopes": ["devices:read"]}, headers=headers)
        gone = (await client.post("/v1/end-users", json={}, headers=headers)).json()["id"]
        await client.delete(f"/v1/end-users/{gone}", headers=headers)
    lists = ("end-users", "devices", "recordings", "api-keys", "erasures")
    cursors: dict[str, str] = {}
    for each in lists:
        answer = await client.get(f"/v1/{each}?limit=1", headers=headers)
        cursors[each] = answer.json()["next_cursor"]
        assert cursors[each], each
    for each in lists:
        for other, cursor in cursors.items():
            answer = await client.get(f"/v1/{each}?limit=1&cursor={cursor}", headers=headers)
            if each == other:
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.json()["error"]["param"]) == (400, "cursor"), (each, other)


async def test_offset_skips(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    expected = await make(ports, tenant, [datetime(2026, 1, 15, second=n, tzinfo=UTC) for n in range(10)])
    answer = await client.get("/v1/end-users?limit=3&offset=4", headers=tenant.headers)
    assert [each["id"] for each in answer.json()["data"]] == expected[4:7]
    past = await client.get("/v1/end-users?offset=10", headers=tenant.headers)
    assert past.json() == {"data": [], "has_more": False, "next_cursor": None}


async def test_twenty_rows_unless_asked(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    await make(ports, tenant, [datetime(2026, 1, 15, second=n, tzinfo=UTC) for n in range(21)])
    answer = (await client.get("/v1/end-users", headers=tenant.headers)).json()
    assert len(answer["data"]) == 20
    assert answer["has_more"] is True


@dataclass
class PlacedRow:
    """A row of a list whose rows have numbers."""

    place: int


def test_a_list_of_numbers_goes_on_after_the_last_row_shown() -> None:
    rows = [PlacedRow(place) for place in (3, 4, 6)]
    assert place_page(rows, 3, "messages", lambda row: row.place) == ([3, 4, 6], False, None)
    data, has_more, cursor = place_page(rows, 2, "messages", lambda row: row.place)
    assert (data, has_more) == ([3, 4], True)
    assert cursor is not None
    assert read_place(cursor, "messages") == 4
    assert read_place("", "messages") == 0
    for refusing in (
        lambda: read_place(cursor, "devices"),
        lambda: window(PageQuery(cursor=cursor), "messages"),
    ):
        with pytest.raises(InvalidRequest):
            refusing()


@pytest.mark.parametrize("text", ["abc", "msg_1", "1_0", "9" * 19, "-1", "٣", "5.msg_1"])
def test_a_cursor_without_a_number_is_no_place(text: str) -> None:
    checksum = f"{crc32(f'devices:{text}'.encode()):08x}"
    cursor = base64.urlsafe_b64encode(f"{text}.{checksum}".encode()).decode().rstrip("=")
    with pytest.raises(InvalidRequest) as refused:
        read_place(cursor, "devices")
    assert refused.value.param == "cursor"
