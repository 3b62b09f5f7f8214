"""Heartbeats over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden, NotFound
from lapel.foundation.http.operations import NoQuery, Operation, Params
from lapel.slices.heartbeats.wire import Heartbeat, HeartbeatBody

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.slices.heartbeats.service import Heartbeats


class _Routes:
    def __init__(self, service: Heartbeats) -> None:
        self._service = service

    async def of_device(
        self, token_hash: bytes, params: Params, _query: NoQuery, body: HeartbeatBody
    ) -> tuple[Actor, Heartbeat] | None:
        return await self._service.of_device(token_hash, params["device_id"], body)

    async def of(self, actor: Actor, params: Params, _query: NoQuery, body: HeartbeatBody) -> Heartbeat:
        return await self._service.of(actor, params["device_id"], body)


def operations(service: Heartbeats) -> tuple[Operation, ...]:
    """The one route."""
    routes = _Routes(service)
    return (
        Operation(
            method="POST",
            path="/v1/devices/{device_id}/heartbeat",
            name="send_heartbeat",
            summary="Tell how a device is, and hear what it should do",
            description=(
                "For a device `device_id` is its own, or `me`. May be repeated: nothing that is told again "
                "happens twice, and commands and the update are listed until they are dealt with."
            ),
            tag="Devices",
            handler=routes.of,
            direct=routes.of_device,
            scope="devices:write",
            callers=frozenset({"key", "device"}),
            body=HeartbeatBody,
            response=Heartbeat,
            errors=(NotFound, Forbidden),
        ),
    )
