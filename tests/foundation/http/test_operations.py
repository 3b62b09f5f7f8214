"""The router, and an operation as data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.http.authorization import PUBLIC, Access
from lapel.foundation.http.calls import Call, NoBody, NoQuery
from lapel.foundation.http.router import Router
from lapel.foundation.http.routes import Routes
from lapel.slices.devices.service import OWN_DEVICE

PATHS = (
    ("GET", "/v1/devices", "list"),
    ("POST", "/v1/devices", "create"),
    ("GET", "/v1/devices/stats", "stats"),
    ("GET", "/v1/devices/{device_id}", "read"),
    ("DELETE", "/v1/devices/{device_id}", "delete"),
    ("GET", "/v1/devices/{device_id}/commands/pending", "pending"),
    ("GET", "/v1/devices/{device_id}/commands/{command_id}", "command"),
    ("POST", "/v1/{kind}/stats/reset", "reset"),
    ("GET", "/health", "health"),
)


def found(method: str, path: str) -> tuple[object, list[str]] | None:
    match = Router(PATHS).find(path)
    return None if match is None or method not in match[0] else (match[0][method], match[1])


@pytest.mark.parametrize(
    ("method", "path", "target", "values"),
    [
        ("GET", "/v1/devices", "list", []),
        ("POST", "/v1/devices", "create", []),
        ("GET", "/v1/devices/dev_1", "read", ["dev_1"]),
        ("GET", "/v1/devices/stats", "stats", []),
        ("GET", "/v1/devices/dev_1/commands/pending", "pending", ["dev_1"]),
        ("GET", "/v1/devices/dev_1/commands/cmd_1", "command", ["dev_1", "cmd_1"]),
        ("GET", "/v1/devices/stats/commands/cmd_1", "command", ["stats", "cmd_1"]),
        ("POST", "/v1/devices/stats/reset", "reset", ["devices"]),
        ("HEAD", "/v1/devices/dev_1", "read", ["dev_1"]),
        ("GET", "/health", "health", []),
    ],
)
def test_a_path_leads_to_its_operation(method: str, path: str, target: str, values: list[str]) -> None:
    assert found(method, path) == (target, values)


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v1", "/v1/", "/v1/devices/", "//v1/devices", "/v1//devices", "/v1/devices/dev_1/",
     "/v1/devices/dev_1/commands", "/v2/devices", "/health/", "*", "/v1/devices/dev_1/commands//"],
)  # fmt: skip
def test_other_paths_lead_nowhere(path: str) -> None:
    assert Router(PATHS).find(path) is None


def test_a_get_without_a_response_answers_content() -> None:
    things = Routes("Things", read=PUBLIC, write=PUBLIC)

    async def nothing(_call: Call[NoQuery, NoBody]) -> None: ...

    with pytest.raises(TypeError, match="GET /v1/things has no response"):
        things.get("/v1/things", "list").plain("", nothing)
    assert things.delete("/v1/things", "clear").plain("", nothing).status == 204


def test_a_call_on_a_path_without_parameters_has_no_id() -> None:
    actor = ANONYMOUS
    assert Call({"thing_id": "a", "part_id": "b"}, NoQuery(), NoBody(), actor).id == "a"
    with pytest.raises(LookupError, match="path of this operation has none"):
        _ = Call({}, NoQuery(), NoBody(), actor).id


def test_a_known_path_tells_its_methods() -> None:
    match = Router(PATHS).find("/v1/devices/dev_1")
    assert match is not None
    assert sorted(match[0]) == ["DELETE", "GET", "HEAD"]


def test_the_same_route_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"GET /v1/a/\{c\} is declared twice"):
        Router([("GET", "/v1/a/{b}", 1), ("GET", "/v1/a/{c}", 2)])


SEGMENTS = st.sampled_from(["a", "b", "c"])
TEMPLATES = st.lists(st.one_of(SEGMENTS, st.just("{x}")), min_size=1, max_size=4).map(tuple)


@given(st.sets(TEMPLATES, max_size=8), st.lists(SEGMENTS, min_size=1, max_size=4))
def test_the_router_agrees_with_trying_every_template(
    templates: set[tuple[str, ...]], segments: list[str]
) -> None:
    router = Router(("GET", "/" + "/".join(each), each) for each in templates)
    fitting = [
        each
        for each in templates
        if len(each) == len(segments)
        and all(part in ("{x}", segment) for part, segment in zip(each, segments, strict=True))
    ]
    match = router.find("/" + "/".join(segments))
    if not fitting:
        assert match is None
        return
    # A literal wins over a parameter, from the left.
    best = min(fitting, key=lambda each: [part == "{x}" for part in each])
    assert match is not None
    assert match[0]["GET"] == best
    assert match[1] == [s for part, s in zip(best, segments, strict=True) if part == "{x}"]


@given(st.text(max_size=60))
def test_no_path_breaks_the_router(path: str) -> None:
    Router(PATHS).find(path)


async def _nothing(_call: object) -> NoBody:
    return NoBody()


def test_an_operation_knows_its_parameters_and_whether_it_is_public() -> None:
    routes = Routes("", read=Access("audit:read"), write=Access("audit:read"))
    private = routes.get("/v1/a/{a_id}/b/{b_id}", "x", NoBody).plain("", _nothing)
    assert private.parameters == ("a_id", "b_id")
    assert not private.access.public
    assert private.access.end_user_keys == "deny"
    tokens_only = routes.get("/v1/a", "x", NoBody, access=OWN_DEVICE).plain("", _nothing)
    assert not tokens_only.access.public
    public = routes.get("/v1/a", "x", NoBody, access=PUBLIC).plain("", _nothing)
    assert public.access.public
