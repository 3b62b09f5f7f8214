"""The slice of exports, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice
from lapel.slices.ask.service import Ask
from lapel.slices.audit.service import AuditLog
from lapel.slices.commands.service import Commands
from lapel.slices.configuration.service import Configuration
from lapel.slices.devices.service import Devices
from lapel.slices.end_user_exports import routes
from lapel.slices.end_user_exports.contents import Sources
from lapel.slices.end_user_exports.service import EndUserExports
from lapel.slices.end_users.service import EndUsers
from lapel.slices.heartbeats.service import Heartbeats
from lapel.slices.projects.service import Keys
from lapel.slices.recordings.service import Recordings
from lapel.slices.summaries.service import Summaries
from lapel.slices.transcription.service import Transcriptions

if TYPE_CHECKING:
    from lapel.foundation.slices import Services


def _build(services: Services) -> tuple[EndUserExports]:
    sources = Sources(
        database=services.ports.database,
        end_users=services[EndUsers],
        keys=services[Keys],
        devices=services[Devices],
        commands=services[Commands],
        heartbeats=services[Heartbeats],
        configuration=services[Configuration],
        audit=services[AuditLog],
        recordings=services[Recordings],
        transcriptions=services[Transcriptions],
        summaries=services[Summaries],
        ask=services[Ask],
    )
    return (EndUserExports(services.ports, sources),)


SLICE = Slice(
    name="end_user_exports",
    build=_build,
    operations=lambda services: routes.operations(services[EndUserExports]),
)
