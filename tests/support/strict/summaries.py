"""Summaries and their templates (section 12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import (
    Shape,
    agrees,
    all_of,
    array,
    boolean,
    identifier,
    integer,
    json_object,
    null_or,
    number,
    record,
    text,
    time,
    word,
)
from tests.support.strict.transcriptions import not_blank

_ERRORS = ("processing_error", "provider_error", "transcript_too_short", "template_not_found")
# A built-in template's id has an underscore.
_TEMPLATE_ID = text(6, 69, r"tmpl_[A-Za-z0-9_]{1,64}")
_TEXT = all_of(text(1, 10_000), not_blank)
_TEXTS = array(_TEXT, most=200)
_NULLABLE = null_or(_TEXT)
_OUTPUTS: dict[str, dict[str, Shape]] = {
    "general_notes": {
        "overview": _TEXT,
        **dict.fromkeys(("key_points", "action_items", "participants", "decisions"), _TEXTS),
    },
    "sales_call": {
        **dict.fromkeys(("pain_points", "next_steps", "key_quotes"), _TEXTS),
        **dict.fromkeys(("budget", "timeline", "sentiment"), _NULLABLE),
        "deal_probability": null_or(number(0, 1)),
    },
    "clinical_soap": dict.fromkeys(("subjective", "objective", "assessment", "plan"), _NULLABLE),
    "legal_memo": {
        **dict.fromkeys(("issues", "parties_involved"), _TEXTS),
        **dict.fromkeys(("facts", "analysis", "conclusion"), _NULLABLE),
    },
}
# Lapel's own: the times on which each entry rests.
_SPAN = all_of(
    record({"start_ms": integer(), "end_ms": integer()}),
    agrees("a span's end is not before its start", lambda it: it["end_ms"] >= it["start_ms"]),
)
_EVIDENCE = array(array(_SPAN))


def _output(value: Any, at: str) -> Iterator[str]:
    """The output of a built-in template: every entry has its evidence."""
    shape = _OUTPUTS.get(value.get("template"))
    if shape is None or value.get("output") is None:
        return
    evidence = record(dict.fromkeys(shape, _EVIDENCE))
    yield from record({**shape, "evidence": evidence})(value["output"], f"{at}.output")
    for name, entry in value["output"].items():
        found = value["output"].get("evidence", {}).get(name)
        if isinstance(entry, list) and name in shape and len(found or ()) != len(entry):
            yield f"{at}.output.{name}: {len(entry)} entries and evidence for {len(found or ())}"


# Lapel's own: what a completed summary lacks.
_WARNING = all_of(
    record(
        {"code": word("empty_field", "unsupported_entries_left_out"), "message": text(1, 512)},
        {"field": text(1, 64), "count": integer(1)},
    ),
    agrees("an empty field is named", lambda it: (it["code"] == "empty_field") == ("field" in it)),
    agrees("other warnings count", lambda it: ("field" in it) != ("count" in it)),
)


def _warned(value: Any, at: str) -> Iterator[str]:
    """Of a built-in template, each field that is empty has a warning, and no other has."""
    shape = _OUTPUTS.get(value.get("template"))
    if shape is None or value.get("output") is None:
        return
    empty = {name for name in shape if value["output"].get(name) in (None, "", [])}
    named = {each.get("field") for each in value["warnings"]} - {None}
    if named != empty:
        yield f"{at}.warnings: name {sorted(named)}, and {sorted(empty)} are empty"


# `template_version` and `warnings` are Lapel's own.
_FACTS: dict[str, Shape] = {
    "id": identifier("sum"),
    "project_id": identifier("proj"),
    "recording_id": identifier("rec"),
    "transcription_id": identifier("txn"),
    "status": word("pending", "processing", "completed", "failed"),
    "template_id": null_or(_TEMPLATE_ID),
    "template": null_or(word(*_OUTPUTS)),
    "template_version": null_or(integer(1)),
    "custom_prompt": null_or(text(10, 10_000)),
    "provider": word("gemini", "openai", "claude", "local"),
    "model": null_or(text(1)),
    "warnings": array(_WARNING),
    "error": null_or(record({"code": word(*_ERRORS), "message": text(1)})),
    "error_message": null_or(text(1)),
    "started_at": null_or(time),
    "completed_at": null_or(time),
    "created_at": time,
    "updated_at": time,
}
_TIES = all_of(
    agrees(
        "a failed one has an error, no other has", lambda it: (it["status"] == "failed") == bool(it["error"])
    ),
    agrees(
        "error_message is the error's message",
        lambda it: it["error_message"] == (it["error"] and it["error"]["message"]),
    ),
    agrees(
        "only a completed one has warnings", lambda it: it["status"] == "completed" or it["warnings"] == []
    ),
    agrees(
        "a template or a prompt, not both",
        lambda it: it["template_id"] is None or it["custom_prompt"] is None,
    ),
)
_WHOLE = record({**_FACTS, "output": null_or(json_object)})
SUMMARY = all_of(
    _WHOLE,
    _TIES,
    _output,
    _warned,
    agrees(
        "output is an object once completed, null before",
        lambda it: (it["status"] == "completed") == (it["output"] is not None),
    ),
)
# In an event the output is null when the event would be too large, and the nested copy never has it.
IN_EVENT = all_of(_WHOLE, _TIES, _output, _warned)
NESTED_IN_EVENT = record(_FACTS)

# Lapel's own.
TEMPLATE = record(
    {
        "id": _TEMPLATE_ID,
        "project_id": identifier("proj"),
        "name": text(1, 128),
        "description": null_or(text(0, 1_000)),
        "instructions": text(1, 10_000),
        "schema": json_object,
        "version": integer(1),
        "built_in": boolean,
        "created_at": time,
        "updated_at": time,
    }
)
