"""Merging settings: RFC 7396, and nothing lost of what a change does not name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.devices.settings import MAX_DEPTH, change_of, merged
from lapel.devices.wire import SettingsChange
from lapel.foundation.errors import InvalidRequest
from tests.support.merge_patch import merge_patch

keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
leaves = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(-1e10, 1e10),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
)
values = st.recursive(
    st.none() | leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
changes = st.dictionaries(st.sampled_from(["connection", "upload", "audio", "power"]), values, max_size=4)


@settings(deadline=None)
@given(st.lists(changes, max_size=4))
def test_merging_is_a_json_merge_patch(given: list[dict[str, Any]]) -> None:
    stored, expected = "{}", {}
    for change in given:
        stored, expected = merged(stored, change), merge_patch(expected, change)
        assert json.loads(stored) == expected


@settings(deadline=None)
@given(changes, changes)
def test_a_change_twice_is_the_change_once(before: dict[str, Any], change: dict[str, Any]) -> None:
    once = merged(merged("{}", before), change)
    assert json.loads(merged(once, change)) == json.loads(once)


@settings(deadline=None)
@given(changes)
def test_nothing_changes_nothing_and_null_clears_all(before: dict[str, Any]) -> None:
    stored = merged("{}", before)
    assert json.loads(merged(stored, {})) == json.loads(stored)
    assert merged(stored, dict.fromkeys(before, None)) == "{}"
    assert merged(stored, None) == "{}"


@pytest.mark.parametrize("number", ["1.10", "123456789012345678901234567890", "0." + "1" * 40, "-0.0"])
def test_what_is_not_named_keeps_its_digits(number: str) -> None:
    stored = f'{{"audio":{{"gain":{number},"list":[{number}]}}}}'
    assert merged(stored, {"audio": {"rate": 16000}}) == stored[:-2] + ',"rate":16000}}'


def test_depth_and_size_are_bounded() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return {"deeper": nested(levels - 1)} if levels else {}

    # The settings are the first level, and a section the second.
    assert change_of(SettingsChange(audio=nested(MAX_DEPTH - 2))) is not None
    for deep in (SettingsChange(audio=nested(MAX_DEPTH - 1)), SettingsChange(audio=nested(100_000 // 500))):
        with pytest.raises(InvalidRequest):
            change_of(deep)
    half = {"audio": {"a": "x" * 9000}}
    with pytest.raises(InvalidRequest):
        merged(merged("{}", half), {"power": {"b": "x" * 9000}})
    assert merged(merged("{}", half), {"audio": {"a": "y" * 9000}})
