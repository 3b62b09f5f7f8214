"""What levels of overrides come to, and what a write makes of one: rules that hold of every section."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.configuration.kinds import Strictest, Value
from lapel.slices.configuration.merging import flat, merge, nested, patched, resolve
from lapel.slices.configuration.section_schemas import change_schemas, resolved_schema
from lapel.slices.configuration.sections import SECTIONS, Section
from tests.configuration.overrides import of_any_section, overrides, paths

UPLOAD, SECURITY, RETENTION = SECTIONS["upload"], SECTIONS["upload_security"], SECTIONS["retention"]
CONNECTION = SECTIONS["connection"]
EVERY = list(SECTIONS.values())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# --- levels ----------------------------------------------------------------------------------------


@given(of_any_section(3))
def test_merging_is_associative(made: tuple[Section, list[dict[str, Value]]]) -> None:
    section, (broad, middle, near) = made
    assert merge(section, merge(section, broad, middle), near) == merge(
        section, broad, merge(section, middle, near)
    )


@given(of_any_section(1))
def test_an_empty_level_changes_nothing(made: tuple[Section, list[dict[str, Value]]]) -> None:
    section, (only,) = made
    assert merge(section, only, {}) == merge(section, {}, only) == only
    assert merge(section, only, only) == only


@given(of_any_section(4), st.integers(0, 4))
def test_joining_neighbours_first_makes_no_difference(
    made: tuple[Section, list[dict[str, Value]]], at: int
) -> None:
    section, levels = made
    joined = [*levels[:at], *([merge(section, *levels[at : at + 2])] if at < 3 else levels[at : at + 2])]
    joined += levels[at + 2 :]
    assert resolve(section, joined) == resolve(section, levels)


@given(of_any_section(4))
def test_a_resolved_value_has_every_field_and_is_of_its_schema(
    made: tuple[Section, list[dict[str, Value]]],
) -> None:
    section, levels = made
    value = resolve(section, levels)
    Draft202012Validator(resolved_schema(section)).validate(value)
    told = {path for level in levels for path in level}
    hidden = {field.path for field in section.fields if not field.shown_unset and field.path not in told}
    unset = {each for each in section.optional if not any(path.startswith(f"{each}.") for path in told)}
    shown = {field.path for field in section.fields if field.path.partition(".")[0] not in unset}
    assert paths(value) == (shown - hidden) | unset


@given(of_any_section(3))
def test_the_nearest_level_wins_where_no_rule_says_otherwise(
    made: tuple[Section, list[dict[str, Value]]],
) -> None:
    section, levels = made
    merged = flat(section, resolve(section, levels))
    for field in section.fields:
        said = [level[field.path] for level in levels if field.path in level]
        if said and field.kind.rule == "the nearest level":
            assert merged[field.path] == said[-1]


def unlimited_last(value: Value) -> float:
    """A limit as a number that may be compared."""
    assert isinstance(value, int)
    return value or float("inf")


@given(st.lists(overrides(UPLOAD), max_size=4), overrides(UPLOAD), st.integers(0, 4))
def test_one_more_level_never_raises_the_data_limit(
    levels: list[dict[str, Value]], more: dict[str, Value], at: int
) -> None:
    name = "daily_data_limit_mb"
    said = [level[name] for level in levels if name in level]
    before = resolve(UPLOAD, levels)[name]
    after = resolve(UPLOAD, [*levels[:at], more, *levels[at:]])[name]
    if said:
        assert unlimited_last(after) <= unlimited_last(before)
        assert before == min(said, key=unlimited_last)
    else:
        assert after == more.get(name, 500)


@given(st.lists(overrides(SECURITY), max_size=4), overrides(SECURITY), st.integers(0, 4))
def test_one_more_level_never_makes_security_laxer(
    levels: list[dict[str, Value]], more: dict[str, Value], at: int
) -> None:
    order = ["legacy_allowed", "v2_preferred", "v2_required"]
    name = "encrypted_upload_policy"
    before = resolve(SECURITY, levels)[name]
    after = resolve(SECURITY, [*levels[:at], more, *levels[at:]])[name]
    assert order.index(after) == max(order.index(before), order.index(str(more.get(name, order[0]))))


@given(st.lists(overrides(RETENTION), max_size=4), overrides(RETENTION), st.integers(0, 4))
def test_one_more_level_never_keeps_longer(
    levels: list[dict[str, Value]], more: dict[str, Value], at: int
) -> None:
    for name in ("recordings_days", "audio_days"):
        before = resolve(RETENTION, levels)[name]
        after = resolve(RETENTION, [*levels[:at], more, *levels[at:]])[name]
        shorter = [each for each in (before, more.get(name)) if each is not None]
        assert after == min(shorter, default=None)


def test_strictness_is_the_order_of_the_words() -> None:
    kind = Strictest(("open", "asked", "closed"))
    assert kind.merge("closed", "asked") == kind.merge("asked", "closed") == "closed"
    assert kind.merge("open", "asked") == kind.merge("asked", "open") == "asked"


def test_lists_are_merged_place_by_place() -> None:
    """With the built-in list, which has all three, below them."""
    levels: list[dict[str, Value]] = [
        {"upload_network_preference": ["ble", "wifi"]},
        {"upload_network_preference": ["cellular"]},
    ]
    assert resolve(CONNECTION, levels)["upload_network_preference"] == ["cellular", "wifi", "cellular"]
    assert resolve(CONNECTION, levels[1:])["upload_network_preference"] == ["cellular", "ble", "cellular"]


# --- writes ----------------------------------------------------------------------------------------


@given(of_any_section(2))
def test_a_patch_sets_what_it_names_and_keeps_the_rest(
    made: tuple[Section, list[dict[str, Value]]],
) -> None:
    section, (before, change) = made
    after = patched(section, before, nested(change))
    for path in {*before, *change}:
        expected = change.get(path, before.get(path))
        # The contract's one list is merged position by position; `languages`, which is ours, is one value.
        if isinstance(expected, list) and path in before and path != "languages":
            old = before[path]
            assert isinstance(old, list)
            expected = [*expected, *old[len(expected) :]]
        assert after[path] == expected
    assert set(after) == {*before, *change}


@given(of_any_section(1))
def test_what_was_read_may_be_written_back(made: tuple[Section, list[dict[str, Value]]]) -> None:
    """A client changes a field of what it read and sends the whole; nulls in it say nothing."""
    section, levels = made
    value = resolve(section, levels)
    assert resolve(section, [patched(section, {}, value)]) == value
    assert flat(section, nested(levels[0])) == levels[0]


@given(of_any_section(1))
def test_null_clears_what_it_names(made: tuple[Section, list[dict[str, Value]]]) -> None:
    section, (override,) = made
    for path in override:
        change: Any = None
        for each in reversed(path.split(".")):
            change = {each: change}
        left = patched(section, override, change)
        assert left == {each: value for each, value in override.items() if each != path}
        group = path.partition(".")[0]
        cleared = patched(section, override, {group: None})
        assert cleared == {
            each: value
            for each, value in override.items()
            if each != group and not each.startswith(f"{group}.")
        }


@given(of_any_section(1), st.text(max_size=12))
def test_an_unknown_field_is_refused_with_its_path(
    made: tuple[Section, list[dict[str, Value]]], name: str
) -> None:
    section, (override,) = made
    for group in ("", *sorted(section.groups)):
        prefix = f"{group}." if group else ""
        if any(path == f"{prefix}{name}" or path.startswith(f"{prefix}{name}.") for path in section.by_path):
            continue
        for value in (None, True, {}):
            change = {group: {name: value}} if group else {name: value}
            with pytest.raises(InvalidRequest) as refused:
                patched(section, override, change)
            assert refused.value.param == f"{prefix}{name}"


@given(st.sampled_from(EVERY), st.dictionaries(st.text(max_size=8), JSON, max_size=2), st.data())
def test_a_write_is_taken_exactly_when_its_schema_says_so(
    section: Section, strange: dict[str, Any], data: st.DataObject
) -> None:
    """Mostly valid documents with something odd put into them somewhere."""
    document: dict[str, Any] = nested(data.draw(overrides(section)))
    document.update(data.draw(st.sampled_from([{}, strange])))
    at = data.draw(st.sampled_from([field.path for field in section.fields] + sorted(section.groups)))
    *groups, name = at.split(".")
    inner = document
    for each in groups:
        inner = inner.setdefault(each, {})
    if isinstance(inner, dict) and data.draw(st.booleans()):
        inner[name] = data.draw(JSON)
    schema = {"type": "object", "properties": change_schemas(section), "additionalProperties": False}
    # In Python `$` also stands before a last line break, in JSON Schema it does not.
    schema = json.loads(json.dumps(schema).replace('$"', r'\\Z"'))
    if Draft202012Validator(schema).is_valid(document):
        after = patched(section, {}, document)
        Draft202012Validator(resolved_schema(section)).validate(resolve(section, [after]))
    else:
        with pytest.raises(InvalidRequest) as refused:
            patched(section, {}, document)
        assert refused.value.param is not None


@pytest.mark.parametrize(
    ("given_seconds", "kept"), [(-1, -1), (0, 0), (1, 10), (9, 10), (10, 10), (2540, 2540)]
)
def test_idle_times_that_are_too_short_become_10_seconds(given_seconds: int, kept: int) -> None:
    change = {"power_management": {"wifi_idle_timeout_seconds": given_seconds}}
    assert patched(CONNECTION, {}, change) == {"power_management.wifi_idle_timeout_seconds": kept}


@pytest.mark.parametrize(
    ("section", "change", "param"),
    [
        ("connection", {"power_management": {"wifi_idle_timeout_seconds": -2}},
         "power_management.wifi_idle_timeout_seconds"),
        ("connection", {"power_management": {"cellular_idle_timeout_seconds": 2541}},
         "power_management.cellular_idle_timeout_seconds"),
        ("connection", {"enabled_connections": {"wifi": 1}}, "enabled_connections.wifi"),
        ("connection", {"enabled_connections": []}, "enabled_connections"),
        ("connection", {"enabled_connections.wifi": True}, "enabled_connections.wifi"),
        ("connection", {"upload_network_preference": []}, "upload_network_preference"),
        ("connection", {"upload_network_preference": ["wifi"] * 4}, "upload_network_preference"),
        ("connection", {"upload_network_preference": ["wifi", "lte"]}, "upload_network_preference[1]"),
        ("connection", {"upload_network_preference": ["wifi", None]}, "upload_network_preference[1]"),
        ("upload", {"streaming_chunk_kb": 63}, "streaming_chunk_kb"),
        ("upload", {"streaming_chunk_kb": 1025}, "streaming_chunk_kb"),
        ("upload", {"streaming_chunk_kb": "64"}, "streaming_chunk_kb"),
        ("upload", {"streaming_chunk_kb": 64.5}, "streaming_chunk_kb"),
        ("upload", {"streaming_chunk_kb": True}, "streaming_chunk_kb"),
        ("upload", {"streaming_flush_interval_seconds": 256}, "streaming_flush_interval_seconds"),
        ("upload", {"daily_data_limit_mb": -1}, "daily_data_limit_mb"),
        ("upload", {"daily_data_limit_mb": 10_001}, "daily_data_limit_mb"),
        ("upload", {"off_peak_hours": {"start": "24:00"}}, "off_peak_hours.start"),
        ("upload", {"off_peak_hours": {"end": "6:00"}}, "off_peak_hours.end"),
        ("upload", {"off_peak_hours": {"start": "06:00\n"}}, "off_peak_hours.start"),
        ("upload", {"off_peak_hours": {"timezone": "Europe Zurich"}}, "off_peak_hours.timezone"),
        ("processing", {"auto_transcription": {"provider": "gemini"}}, "auto_transcription.provider"),
        ("processing", {"auto_summary": {"template": ""}}, "auto_summary.template"),
        ("processing", {"auto_summary": {"template": "x" * 65}}, "auto_summary.template"),
        ("processing", {"auto_summary": {"provider": "local"}}, "auto_summary.provider"),
        ("processing", {"auto_enhancement": {"provider": "x"}}, "auto_enhancement.provider"),
        ("upload", {"off_peak_hours": {"timezone": "x" * 65}}, "off_peak_hours.timezone"),
        ("upload", {"off_peak_hours": {"timezone": "a//b"}}, "off_peak_hours.timezone"),
        ("processing", {"auto_embedding": {"provider": "x"}}, "auto_embedding.provider"),
        ("ota", {"source": "usb"}, "source"),
        ("upload_security", {"encrypted_upload_policy": "v3"}, "encrypted_upload_policy"),
        ("retention", {"recordings_days": 0}, "recordings_days"),
        ("retention", {"audio_days": 36_501}, "audio_days"),
        ("retention", {"days": 1}, "days"),
        ("retention", {"x" * 200: 1}, "x" * 128),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused_with_its_path(
    section: str, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        patched(SECTIONS[section], {}, change)
    assert refused.value.param == param
    assert f"`{param}`" in refused.value.message


def test_an_integer_may_be_written_with_a_point() -> None:
    change = {"streaming_chunk_kb": 256.0}
    (stored,) = patched(UPLOAD, {}, change).values()
    assert (stored, type(stored)) == (256, int)
    with pytest.raises(InvalidRequest):
        patched(UPLOAD, {}, {"streaming_chunk_kb": 256.5})


def test_what_a_section_no_longer_has_is_passed_over() -> None:
    """An override stored by another version of Lapel."""
    stored = {"streaming_enabled": True, "gone": 1, "off_peak_hours": {"gone": True}}
    assert flat(UPLOAD, stored) == {"streaming_enabled": True}
    assert flat(UPLOAD, {"off_peak_hours": 5}) == {}
    summary = {"enabled": True, "provider": "local", "template": "x" * 100}
    assert flat(SECTIONS["processing"], {"auto_summary": summary}) == {"auto_summary.enabled": True}


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("ota", {"source": "legacy"}),
        ("processing", {"auto_summary": {"provider": "claude", "template": "tmpl_" + "x" * 59}}),
        ("processing", {"auto_enhancement": {"provider": "cleanvoice"}}),
        ("processing", {"auto_transcription": {"provider": "elevenlabs"}}),
        ("upload", {"off_peak_hours": {"timezone": "America/Argentina/Buenos_Aires", "enabled": True}}),
        ("upload", {"off_peak_hours": {"timezone": "a/b/c/d/Etc+5", "start": "23:59", "end": "00:00"}}),
        ("connection", {"power_management": {"wifi_idle_timeout_seconds": 2540}}),
        ("connection", {"upload_network_preference": ["ble", "ble", "wifi"]}),
    ],
)
def test_what_the_contract_lists_is_taken(section: str, change: dict[str, Any]) -> None:
    found = flat(SECTIONS[section], nested(patched(SECTIONS[section], {}, change)))
    assert nested(found) == change
