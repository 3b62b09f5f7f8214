"""Devices, their state, settings, heartbeats and commands (section 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.configuration import CONNECTION_SETTINGS, UPLOAD_SETTINGS, WARNINGS
from tests.support.strict.shapes import (
    Shape,
    agrees,
    all_of,
    array,
    boolean,
    identifier,
    integer,
    json_object,
    metadata,
    null_or,
    record,
    text,
    time,
    word,
)

_SEEN_BY = null_or(word("ble", "wifi", "cellular"))
_STATE = null_or(
    record(
        {
            "device_state": null_or(text(0, 32)),
            "pending_recordings": null_or(integer(0)),
            "flags": null_or(integer(0, 255)),
            "connection_type": array(text(0, 16)),
        }
    )
)
_READINGS: dict[str, Shape] = {
    "battery_percent": null_or(integer(0, 100)),
    "storage_used_mb": null_or(integer()),
    "storage_total_mb": null_or(integer()),
    "signal_strength_dbm": null_or(integer(-(2**31), 2**31 - 1)),
}
_TOLD: dict[str, Shape] = {
    **_READINGS,
    "last_heartbeat_at": null_or(time),
    "last_synced_at": null_or(time),
    "recording_state": _STATE,
    "binding_generation": integer(0, 2**31 - 1),
}
_USED_FITS = agrees(
    "used is at most total",
    lambda it: (
        None in (it["storage_used_mb"], it["storage_total_mb"])
        or it["storage_used_mb"] <= it["storage_total_mb"]
    ),
)


def _rate(value: Any, at: str) -> Iterator[str]:
    yield from integer()(value, at)
    if value not in (16000, 24000, 48000):
        yield f"{at}: {value!r} is no sample rate"


_SETTINGS = record(
    {},
    {
        "connection": CONNECTION_SETTINGS,
        "upload": UPLOAD_SETTINGS,
        "audio": record(
            {},
            {
                "codec": word("opus", "aac", "wav"),
                "sample_rate": _rate,
                "bitrate": integer(8, 320),
            },
        ),
        "power": record(
            {}, {"auto_sleep_minutes": integer(0, 1440), "low_battery_threshold_percent": integer(0, 100)}
        ),
    },
)
_DEVICE: dict[str, Shape] = {
    "id": identifier("dev"),
    "serial_number": text(4, 64, r"[A-Za-z0-9_-]+"),
    "model": text(pattern=r"[a-z0-9_]{1,64}"),
    "device_type": text(pattern=r"[a-z0-9_]{1,64}"),
    "name": null_or(text(0, 128)),
    "firmware_version": null_or(text(0, 64)),
    "status": word("unbound", "bound"),
    "end_user_id": null_or(identifier("eu")),
    "bound_at": null_or(time),
    "last_seen_at": null_or(time),
    **_TOLD,
    "metadata": metadata,
    "settings": _SETTINGS,
    "project_id": identifier("proj"),
    "created_at": time,
    "updated_at": time,
    "deleted_at": null_or(time),
}
_TIES = all_of(
    _USED_FITS,
    agrees("device_type is the model", lambda it: it["device_type"] == it["model"]),
    agrees(
        "bound has an end user and a time, unbound has neither",
        lambda it: (
            [it["end_user_id"] is not None, it["bound_at"] is not None] == [it["status"] == "bound"] * 2
        ),
    ),
    agrees(
        "bound is at least generation 1", lambda it: it["binding_generation"] >= (it["status"] == "bound")
    ),
)
_TOKEN = text(pattern=r"dtok_[A-Za-z0-9]{32,}")

DEVICE = all_of(record(_DEVICE), _TIES)
BOUND = all_of(record(_DEVICE | {"device_token": _TOKEN}), _TIES)
TOKEN = record({"device_token": _TOKEN})
STATS = record(
    {
        "total_count": integer(),
        "online_count": integer(),
        "low_battery_count": integer(),
        "storage_full_count": integer(),
        "data": array(DEVICE),
    }
)
STATE = all_of(
    record(
        {
            "device_id": identifier("dev"),
            "online": boolean,
            "recording": record(
                {
                    "active": boolean,
                    "recording_id": null_or(identifier("rec")),
                    "started_at": null_or(time),
                    "initiated_by": null_or(word("local", "remote")),
                }
            ),
            **_TOLD,
            "last_seen_by": _SEEN_BY,
            "last_synced_by": _SEEN_BY,
        }
    ),
    _USED_FITS,
)
SETTINGS = record(
    {
        "device_id": identifier("dev"),
        "settings": _SETTINGS,
        "current_status": all_of(
            record(
                {
                    **_READINGS,
                    "network_type": null_or(text(0, 16)),
                    "is_roaming": null_or(boolean),
                    "data_used_today_mb": null_or(integer()),
                }
            ),
            _USED_FITS,
        ),
        "updated_at": time,
    },
    {"warnings": WARNINGS},
)

COMMAND = all_of(
    record(
        {
            "id": identifier("cmd"),
            "device_id": identifier("dev"),
            "type": word("start_recording", "stop_recording", "trigger_upload", "factory_reset"),
            "status": word("pending", "delivered", "executed", "failed", "expired", "cancelled"),
            "params": record(
                {},
                {
                    "max_duration_sec": integer(1, 86400),
                    "upload_immediately": boolean,
                    "metadata": metadata,
                },
            ),
            "grant_token": text(pattern=r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"),
            "result": null_or(json_object),
            "error": null_or(json_object),
            "expires_at": null_or(time),
            "delivered_at": null_or(time),
            "executed_at": null_or(time),
            "created_at": time,
        },
        {"project_id": identifier("proj"), "end_user_id": identifier("eu")},
    ),
    agrees(
        "only a factory reset never expires", lambda it: it["expires_at"] or it["type"] == "factory_reset"
    ),
    agrees("delivered has a time", lambda it: it["status"] != "delivered" or it["delivered_at"]),
    agrees("executed has a time", lambda it: it["status"] != "executed" or it["executed_at"]),
)
GRANT = record(
    {"grant_blob": text(pattern=r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"), "expires_at": time}
)
HEARTBEAT = record(
    {
        "status": word("ok"),
        "commands": array(COMMAND),
        "ota": null_or(json_object),
        "config_revision": integer(),
        "accepted_event_ids": array(text(pattern=r"[0-9A-Fa-f]{16}")),
    }
)
