"""The usage of a project over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.operations import NoBody, NoQuery, Operation
from lapel.slices.usage.wire import Usage

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.operations import Params
    from lapel.slices.usage.service import UsageMeter


def operations(service: UsageMeter) -> tuple[Operation, ...]:
    """Every route of the usage."""

    async def get_usage(actor: Actor, _params: Params, _query: NoQuery, _body: NoBody) -> Usage:
        return await service.read(actor)

    return (
        Operation(
            method="GET",
            path="/v1/usage",
            name="get_usage",
            summary="Get the usage of the project",
            tag="Administration",
            description="End users, devices, recordings and bytes in the key's world, and the audio that was"
            " taken for transcription today (UTC) against the limit of a day.",
            handler=get_usage,
            scope="audit:read",
            response=Usage,
        ),
    )
