"""Heartbeats over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.heartbeats.wire import Heartbeat, HeartbeatBody

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.heartbeats.service import Heartbeats

_BEAT = Access("devices:write", frozenset({"key", "device"}))


def operations(service: Heartbeats) -> tuple[Operation, ...]:
    """The route of heartbeats."""
    devices = Routes("Devices", read=_BEAT, write=_BEAT)
    return (
        devices.post("/v1/devices/{device_id}/heartbeat", "send_heartbeat", Heartbeat, HeartbeatBody).direct(
            "Report a device's state, and get its commands and update",
            lambda call: service.of_device(call.token_hash, call.id, call.body),
            lambda call: service.of(call.actor, call.id, call.body),
            "A device calls this with its own id, or with `me`. A heartbeat may be repeated: nothing happens "
            "twice. Each answer has all open commands, and the update that is offered, until they are done "
            "or have ended.",
            unaudited="A heartbeat is telemetry: a fleet sends thousands a second.",
        ),
    )
