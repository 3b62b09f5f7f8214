"""The usage of a project over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes
from lapel.slices.usage.wire import Usage

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.usage.service import UsageMeter

_AUDIT = Access("audit:read")


def operations(service: UsageMeter) -> tuple[Operation, ...]:
    """Every route of the usage."""
    project = Routes("Administration", read=_AUDIT, write=_AUDIT)
    return (
        project.get("/v1/usage", "get_usage", Usage).plain(
            "Get the usage of the project",
            lambda call: service.read(call.actor),
            "End users, devices, recordings and bytes in the key's world; the audio that was taken for "
            "transcription and the tokens of language models today (UTC), against the limits of a day.",
        ),
    )
