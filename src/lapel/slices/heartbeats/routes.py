"""Heartbeats over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.access import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.heartbeats.wire import Heartbeat, HeartbeatBody

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.heartbeats.service import Heartbeats

_BEAT = Access("devices:write", frozenset({"key", "device"}))


def operations(service: Heartbeats) -> tuple[Operation, ...]:
    """The one route."""
    devices = Routes("Devices", read=_BEAT, write=_BEAT)
    return (
        devices.post("/v1/devices/{device_id}/heartbeat", "send_heartbeat", Heartbeat, HeartbeatBody).direct(
            "Tell how a device is, and hear what it should do",
            lambda call: service.of_device(call.token_hash, call.id, call.body),
            lambda call: service.of(call.actor, call.id, call.body),
            "For a device `device_id` is its own, or `me`. May be repeated: nothing that is told again "
            "happens twice, and commands and the update are listed until they are dealt with.",
        ),
    )
