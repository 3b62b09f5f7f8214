"""Merging settings: RFC 7396 for the fields that there are, and nothing else is kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lapel.slices.configuration.device_settings import change_schema, changed, shown_schema, valid
from tests.support.merge_patch import merge_patch, set_of

_flags = st.none() | st.fixed_dictionaries(
    {}, optional={"wifi": st.none() | st.booleans(), "cellular": st.none() | st.booleans()}
)
_words = st.lists(st.sampled_from(["wifi", "ble", "cellular"]), min_size=1, max_size=3)
changes = st.fixed_dictionaries(
    {},
    optional={
        "connection": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "enabled_connections": _flags,
                "heartbeat_enabled_connections": _flags,
                "upload_network_preference": st.none() | _words,
            },
        ),
        "upload": st.none()
        | st.fixed_dictionaries({}, optional={"streaming_chunk_kb": st.none() | st.integers(64, 1024)}),
        "audio": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "codec": st.sampled_from([None, "opus", "aac", "wav"]),
                "bitrate": st.none() | st.integers(8, 320),
            },
        ),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["codec", "off_peak_hours", "start", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
sections = st.sampled_from(["connection", "upload", "audio", "power", "video"])


@settings(deadline=None)
@given(st.lists(changes, max_size=4))
def test_merging_is_a_json_merge_patch(given: list[dict[str, Any]]) -> None:
    stored: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for change in given:
        for name, value in change.items():
            Draft202012Validator({"anyOf": [change_schema(name), {"type": "null"}]}).validate(value)
        stored, expected = changed(stored, change, ""), merge_patch(expected, change)
        assert stored == set_of(expected)


@settings(deadline=None)
@given(changes, changes)
def test_a_change_twice_is_the_change_once(before: dict[str, Any], change: dict[str, Any]) -> None:
    once = changed(changed({}, before, ""), change, "")
    assert changed(once, change, "") == once
    assert changed(once, {}, "") == once
    assert changed(once, dict.fromkeys(once, None), "") == {}


@settings(deadline=None)
@given(st.dictionaries(sections, anything, max_size=5))
def test_whatever_is_stored_is_shown_as_the_schema_says(stored: dict[str, Any]) -> None:
    shown = valid(stored)
    assert valid(shown) == shown
    for name, value in shown.items():
        Draft202012Validator(shown_schema(name)).validate(value)
