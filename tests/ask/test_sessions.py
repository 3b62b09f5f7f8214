"""Sessions: making, reading, listing, changing and deleting them."""

from __future__ import annotations

from typing import Any

import pytest

from lapel.slices.projects.scopes import SCOPES
from tests.ask.conftest import ROOF, Asker
from tests.ask.scripted import says
from tests.support.tenants import bearer, make_key

Json = dict[str, Any]


async def test_a_session_about_a_recording_belongs_to_its_end_user(asker: Asker) -> None:
    end_user_id = await asker.library.end_user()
    recording_id = await asker.recording(*ROOF, end_user_id=end_user_id, name="Monday")
    made = await asker.session(recording_id)
    assert made["end_user_id"] == end_user_id
    assert made["scope"] == {
        "type": "recording",
        "recording_ids": [recording_id],
        "recording_title": "Monday",
    }
    assert (made["title"], made["message_count"]) == ("New chat", 0)
    assert made["last_message_at"] == made["created_at"]
    assert (made["last_model"], made["last_provider"]) == (None, None)
    assert await asker.read(made["id"]) == made


async def test_a_recording_that_is_not_transcribed_may_have_a_session(asker: Asker) -> None:
    recording_id = await asker.device.recording()
    made = await asker.session(recording_id)
    refused = await asker.ask(made["id"], "When?", 409)
    assert refused["error"]["code"] == "transcript_not_ready"
    refused = await asker.session(recording_id, 409, initial_message={"content": "When?"})
    assert refused["error"]["code"] == "transcript_not_ready"
    assert await asker.messages(made["id"]) == []


async def test_selected_and_library_need_an_end_user_and_its_recordings(asker: Asker) -> None:
    device = asker.device
    one, other = await device.end_user(), await device.end_user()
    mine = [await device.recording(end_user_id=one) for _ in range(2)]
    foreign = await device.recording(end_user_id=other)

    async def make(expect: int, kind: str, ids: list[str] | None = None, **more: Any) -> Json:
        scope = {"type": kind} if ids is None else {"type": kind, "recording_ids": ids}
        return await device.post("/v1/ask/sessions", expect, {"scope": scope, **more})

    made = await make(201, "selected", [*mine, mine[0]], end_user_id=one)
    assert made["scope"] == {"type": "selected", "recording_ids": mine, "recording_title": None}
    assert (await make(201, "library", end_user_id=one))["scope"]["recording_ids"] == []
    assert (await make(400, "library"))["error"]["param"] == "end_user_id"
    assert (await make(400, "selected", mine))["error"]["param"] == "end_user_id"
    assert (await make(400, "selected", [], end_user_id=one))["error"]["param"] == "scope.recording_ids"
    await make(400, "recording", end_user_id=one)
    await make(404, "selected", [mine[0], foreign], end_user_id=one)
    await make(404, "library", end_user_id="eu_000000000000000000000000")
    await asker.session(mine[0], 404, end_user_id=other)
    await make(400, "everything", end_user_id=one)


async def test_a_key_that_reads_recordings_asks_and_neither_renames_nor_deletes(asker: Asker) -> None:
    """A session may be another caller's: it is changed only with `ask:write` itself."""
    device = asker.device
    recording_id = await asker.recording(*ROOF)
    path = f"/v1/ask/sessions/{(await asker.session(recording_id))['id']}"
    asker.script(says("In May [1]."))
    reader = bearer(await make_key(asker.ports, asker.world_id, "rk_test", scopes=("recordings:read",)))
    scope = {"scope": {"type": "recording", "recording_id": recording_id}}
    await device.post("/v1/ask/sessions", 201, scope, **reader)
    await device.post(f"{path}/messages", 200, {"content": "When is the roof repaired?"}, **reader)
    assert len((await device.call("GET", f"{path}/messages", 200, **reader))["data"]) == 2
    for method, body in (("PATCH", {"title": "Mine"}), ("DELETE", None)):
        refused = await device.call(method, path, 403, body, **reader)
        assert "`ask:write`" in refused["error"]["message"]
    assert (await device.call("GET", path, 200))["title"] == "When is the roof repaired?"
    asking = await make_key(asker.ports, asker.world_id, "rk_test", scopes=("ask:read",))
    refused = await device.post(f"{path}/messages", 403, {"content": "When?"}, **bearer(asking))
    message = refused["error"]["message"]
    assert (
        message == "This key lacks the scope `ask:write` (`recordings:read` suffices instead of `ask:write`)."
    )
    writer = bearer(await make_key(asker.ports, asker.world_id, "rk_test", scopes=("ask:write",)))
    await device.call("DELETE", path, 204, **writer)


async def test_a_key_that_reads_recordings_hands_out_no_right_to_change_sessions(asker: Asker) -> None:
    scopes = ("recordings:read", "keys:write")
    maker = bearer(await make_key(asker.ports, asker.world_id, "rk_test", scopes=scopes))
    refused = await asker.device.post("/v1/api-keys", 403, {"scopes": ["ask:write"]}, **maker)
    assert "ask:write" in refused["error"]["message"]


async def test_a_key_of_one_end_user_implies_it(asker: Asker) -> None:
    device = asker.device
    one, other = await device.end_user(), await device.end_user()
    foreign = await device.recording(end_user_id=other)
    key = await make_key(asker.ports, asker.world_id, "rk_test", scopes=SCOPES, end_user_id=one)
    scoped = {"Authorization": bearer(key)["Authorization"]}
    made = await device.post("/v1/ask/sessions", 201, {"scope": {"type": "library"}}, **scoped)
    assert made["end_user_id"] == one
    await device.post("/v1/ask/sessions", 404, {"scope": {"type": "library"}, "end_user_id": other}, **scoped)
    body = {"scope": {"type": "recording", "recording_id": foreign}}
    await device.post("/v1/ask/sessions", 404, body, **scoped)
    theirs = await asker.session(foreign)
    await device.call("GET", f"/v1/ask/sessions/{theirs['id']}", 404, **scoped)
    listed = await device.call("GET", "/v1/ask/sessions", 200, **scoped)
    assert [each["id"] for each in listed["data"]] == [made["id"]]


async def test_an_end_user_token_reads_and_does_not_ask(asker: Asker) -> None:
    device = asker.device
    recording_id = await asker.recording(*ROOF)
    made = await asker.session(recording_id)
    token = (await device.post(f"/v1/end-users/{made['end_user_id']}/token", 201, {}))["token"]
    path, own = f"/v1/ask/sessions/{made['id']}", bearer(token)
    assert await device.call("GET", path, 200, None, **own) == made
    await device.call("GET", f"{path}/messages", 200, None, **own)
    await device.post(f"{path}/messages", 403, {"content": "When?"}, **own)
    await device.call("DELETE", path, 403, None, **own)


async def test_the_list_is_ordered_by_activity_and_filtered(asker: Asker) -> None:
    device = asker.device
    asker.script(says("It is repaired in May [{repaired}]."))
    end_user_id = await asker.library.end_user()
    recording_id = await asker.recording(*ROOF, end_user_id=end_user_id)
    first = await asker.session(recording_id)
    second = await device.post(
        "/v1/ask/sessions",
        201,
        {"scope": {"type": "selected", "recording_ids": [recording_id]}, "end_user_id": end_user_id},
    )
    third = await device.post(
        "/v1/ask/sessions", 201, {"scope": {"type": "library"}, "end_user_id": end_user_id}
    )
    await asker.ask(first["id"], "When is the ROOF repaired? 100%")

    async def ids(query: str = "") -> list[str]:
        found = await device.call("GET", f"/v1/ask/sessions?{query}", 200)
        return [each["id"] for each in found["data"]]

    assert await ids() == [first["id"], third["id"], second["id"]]
    assert await ids(f"recording_id={recording_id}") == [first["id"], second["id"]]
    assert await ids(f"recording_id={recording_id}&scope_type=selected") == [second["id"]]
    assert await ids("scope_type=library") == [third["id"]]
    assert await ids(f"end_user_id={end_user_id}&q=roof+REP") == [first["id"]]
    assert await ids("q=100%25") == [first["id"]]
    assert await ids("q=_oof") == []
    assert await ids(f"end_user_id={await device.end_user()}") == []
    await device.call("GET", "/v1/ask/sessions?scope_type=nothing", 400)

    page = await device.call("GET", "/v1/ask/sessions?limit=2", 200)
    rest = await device.call("GET", f"/v1/ask/sessions?limit=2&cursor={page['next_cursor']}", 200)
    assert [each["id"] for each in page["data"] + rest["data"]] == [first["id"], third["id"], second["id"]]
    assert rest["next_cursor"] is None


async def test_a_title_is_trimmed_and_limited(asker: Asker) -> None:
    made = await asker.session(await asker.device.recording())
    path = f"/v1/ask/sessions/{made['id']}"
    changed = await asker.device.call("PATCH", path, 200, {"title": "  The fair \n"})
    assert changed["title"] == "The fair"
    assert {**changed, "title": made["title"], "updated_at": made["updated_at"]} == made
    assert await asker.read(made["id"]) == changed
    for bad in ("", "  ", "x" * 201, "😀" * 101, None, 5):
        await asker.device.call("PATCH", path, 400, {"title": bad})
    assert (await asker.device.call("PATCH", path, 200, {"title": "😀" * 100}))["title"] == "😀" * 100
    assert (await asker.device.call("PATCH", path, 200, {}))["title"] == "😀" * 100


async def test_a_deleted_session_takes_its_messages_along(asker: Asker) -> None:
    asker.script(says("It is repaired in May [{repaired}]."))
    made = await asker.about_roof()
    await asker.ask(made["id"], "When?")
    path = f"/v1/ask/sessions/{made['id']}"
    await asker.device.call("DELETE", path, 204)
    for method, tail in (("GET", ""), ("DELETE", ""), ("GET", "/messages")):
        await asker.device.call(method, f"{path}{tail}", 404)
    await asker.ask(made["id"], "When?", 404)


@pytest.mark.parametrize("first", [False, True], ids=["alone", "with a message"])
async def test_a_repeated_creation_makes_one_session(asker: Asker, first: bool) -> None:
    asker.script(says("It is repaired in May [{repaired}]."))
    recording_id = await asker.recording(*ROOF)
    body: Json = {"scope": {"type": "recording", "recording_id": recording_id}}
    if first:
        body["initial_message"] = {"content": "When is the roof repaired?"}
    key = {"Idempotency-Key": "once"}
    made = await asker.device.post("/v1/ask/sessions", 201, body, **key)
    again = await asker.device.post("/v1/ask/sessions", 201, body, **key)
    assert again == made
    sessions = await asker.device.call("GET", "/v1/ask/sessions", 200)
    assert len(sessions["data"]) == 1
    await asker.device.post("/v1/ask/sessions", 422, {**body, "end_user_id": "eu_1"}, **key)
    await asker.device.call("DELETE", f"/v1/ask/sessions/{sessions['data'][0]['id']}", 204)
    await asker.device.post("/v1/ask/sessions", 404, body, **key)
