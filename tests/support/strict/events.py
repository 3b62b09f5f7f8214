"""Events (section 16): the envelope, the whole object, and the same object under its own name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.support.strict import summaries
from tests.support.strict.devices import DEVICE
from tests.support.strict.firmware import ASSIGNMENT
from tests.support.strict.recordings import DELETED, RECORDING
from tests.support.strict.shapes import (
    Json,
    Shape,
    identifier,
    integer,
    json_object,
    null_or,
    record,
    text,
    time,
    word,
)
from tests.support.strict.transcriptions import IN_EVENT, NESTED_IN_EVENT
from tests.support.strict.webhooks import WEBHOOK

MAX_BYTES = 2**20
_TYPE = text(3, 100, r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
EVENT = record({"id": identifier("evt"), "type": _TYPE, "created_at": time, "data": json_object})
# For each type: the name of its object, the object, its nested copy, and the flat fields beside it.
_Kind = tuple[str, Shape, Shape, dict[str, Shape]]
_RECORDING: _Kind = ("recording", RECORDING, RECORDING, {"format": null_or(text(1, 64, r"[a-z0-9-]+"))})
_TRANSCRIPTION: _Kind = ("transcription", IN_EVENT, NESTED_IN_EVENT, {})
_SUMMARY: _Kind = ("summary", summaries.IN_EVENT, summaries.NESTED_IN_EVENT, {})
_DEVICE: _Kind = ("device", DEVICE, DEVICE, {})
_ASSIGNMENT: _Kind = (
    "assignment",
    ASSIGNMENT,
    ASSIGNMENT,
    {"version": text(1, 32), "model": text(1, 64), "project_id": identifier("proj")},
)
# An override that was changed *(ours)*. `before` and `after`: null where the level has none.
_CONFIG_SHAPE = record(
    {
        "id": text(1, 64, r"(org|proj|eu|dev)_[A-Za-z0-9]+"),
        "project_id": identifier("proj"),
        "level": word("organization", "project", "end_user", "device"),
        "section": text(1, 64),
        "before": null_or(json_object),
        "after": null_or(json_object),
        "value": json_object,
        "source": word("default", "organization", "project", "end_user", "device"),
        "config_revision": integer(),
    }
)
_CONFIG: _Kind = ("config", _CONFIG_SHAPE, _CONFIG_SHAPE, {})
TYPES: dict[str, _Kind] = {
    "config.updated": _CONFIG,
    "recording.created": _RECORDING,
    "recording.uploaded": _RECORDING,
    "recording.failed": _RECORDING,
    "recording.deleted": ("recording", DELETED, DELETED, {}),
    "transcription.started": _TRANSCRIPTION,
    "transcription.completed": _TRANSCRIPTION,
    "transcription.failed": _TRANSCRIPTION,
    "summary.started": _SUMMARY,
    "summary.completed": _SUMMARY,
    "summary.failed": _SUMMARY,
    "device.bound": _DEVICE,
    "device.unbound": _DEVICE,
    "device.low_battery": _DEVICE,
    "device.offline": _DEVICE,
    "ota.applied": _ASSIGNMENT,
    "ota.failed": _ASSIGNMENT,
    "webhook.disabled": ("webhook", WEBHOOK, WEBHOOK, {}),
}


def check_event(body: bytes) -> None:
    """Raises AssertionError with the faults of an event's body."""
    event: Any = json.loads(body)
    where = str(event.get("type"))
    faults = list(event_faults(body))
    assert not faults, f"event {where}: " + "; ".join(faults[:20])


def event_faults(body: bytes) -> Iterator[str]:
    """All faults of an event's body against the contract."""
    if len(body) > MAX_BYTES:
        yield f"$: {len(body)} bytes"
    event: Any = json.loads(body)
    yield from EVENT(event, "$")
    if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
        return
    if event.get("type") not in TYPES:
        yield f"$.type: {event.get('type')!r} is no type of event"
        return
    yield from _data_faults(TYPES[event["type"]], event["data"])


def _data_faults(kind: _Kind, data: Json) -> Iterator[str]:
    name, whole, nested, beside = kind
    top = {key: value for key, value in data.items() if key != name and key not in beside}
    yield from whole(top, "$.data")
    if name not in data:
        yield f"$.data: without {name}"
        return
    yield from nested(data[name], f"$.data.{name}")
    for key, value in data[name].items():
        if key in data and data[key] != value:
            yield f"$.data.{name}.{key}: {value!r} here, {data[key]!r} above"
    for key, shape in beside.items():
        if key in data:
            yield from shape(data[key], f"$.data.{key}")
