"""Puts the slices together; the only file that knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.audit import routes as audit_routes
from lapel.audit.service import AuditLog
from lapel.commands import routes as command_routes
from lapel.commands import service as commands
from lapel.configuration import routes as configuration_routes
from lapel.configuration.service import Configuration
from lapel.devices import routes as device_routes
from lapel.devices.service import Devices
from lapel.end_users import routes as end_user_routes
from lapel.end_users.service import EndUsers
from lapel.erasure import jobs as erasure_jobs
from lapel.erasure import routes as erasure_routes
from lapel.erasure.service import Erasures
from lapel.firmware import jobs as firmware_jobs
from lapel.firmware import routes as firmware_routes
from lapel.firmware.service import Firmware
from lapel.foundation import housekeeping, outbox, row_quota, system
from lapel.foundation.idempotency import erase_some_answers
from lapel.heartbeats import jobs as heartbeat_jobs
from lapel.heartbeats import routes as heartbeat_routes
from lapel.heartbeats import service as heartbeats
from lapel.heartbeats.service import Heartbeats
from lapel.projects import routes as project_routes
from lapel.projects.service import Keys, Projects
from lapel.recordings import jobs as recording_jobs
from lapel.recordings import routes as recording_routes
from lapel.recordings.service import Recordings
from lapel.transcription import jobs as transcription_jobs
from lapel.transcription import routes as transcription_routes
from lapel.transcription.providers.remote_copies import RemoteCopies
from lapel.transcription.service import Transcriptions
from lapel.usage import routes as usage_routes
from lapel.usage.service import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.jobs import Job, Schedule
    from lapel.foundation.kit import Kit
    from lapel.foundation.operations import Operation
    from lapel.transcription.runner import Runner


@dataclass(frozen=True, slots=True)
class Slices:
    """The services of one process."""

    projects: Projects
    keys: Keys
    end_users: EndUsers
    devices: Devices
    commands: commands.Commands
    firmware: Firmware
    heartbeats: Heartbeats
    configuration: Configuration
    audit_log: AuditLog
    recordings: Recordings
    erasures: Erasures
    transcriptions: Transcriptions
    usage: Usage


def slices(kit: Kit) -> Slices:
    """All services on one kit.

    Also registers the hooks by which a slice acts when another one binds, unbinds, stores or deletes.
    """
    keys = Keys(kit)
    firmware = Firmware(kit)
    configuration = Configuration(kit)
    # A hook that locks the whole organization comes last.
    devices = Devices(
        kit,
        on_bind=[configuration.raise_devices],
        on_unbind=[commands.cancel_open, heartbeats.forget_binding, configuration.raise_devices],
        on_delete=[
            commands.erase_of_devices,
            firmware.cancel_of_devices,
            heartbeats.erase_of_devices,
            configuration.forget_devices,
        ],
    )
    all_commands = commands.Commands(kit, devices)
    erasures = Erasures(kit)
    transcriptions = Transcriptions(kit, configuration)
    recordings = Recordings(
        kit,
        on_audio=[transcriptions.announce_audio],
        on_delete=[transcriptions.erase_of_recordings],
        # Stored answers are erased last: a repeated request holds the rows that its answer names until that
        # answer is stored.
        of_end_user=[
            commands.erase_some_of,
            heartbeats.erase_some_of,
            outbox.erase_some_of_end_user,
            erase_some_answers,
        ],
    )
    end_users = EndUsers(
        kit,
        keys,
        on_delete=[
            keys.revoke_all_of,
            devices.unbind_all_of,
            configuration.forget_end_user,
            recordings.deletion.start_end_user,
        ],
    )
    return Slices(
        projects=Projects(kit),
        keys=keys,
        end_users=end_users,
        devices=devices,
        commands=all_commands,
        firmware=firmware,
        heartbeats=Heartbeats(kit, devices, all_commands, firmware),
        configuration=configuration,
        audit_log=AuditLog(kit),
        recordings=recordings,
        erasures=erasures,
        transcriptions=transcriptions,
        usage=Usage(kit),
    )


def operations(kit: Kit, parts: Slices) -> tuple[Operation, ...]:
    """Every route of the API."""
    own = (
        *project_routes.operations(parts.keys),
        *end_user_routes.operations(parts.end_users),
        *device_routes.operations(parts.devices),
        *command_routes.operations(parts.commands),
        *firmware_routes.operations(parts.firmware),
        *heartbeat_routes.operations(parts.heartbeats),
        *configuration_routes.operations(parts.configuration),
        *audit_routes.operations(parts.audit_log),
        *recording_routes.operations(parts.recordings),
        *transcription_routes.operations(parts.transcriptions),
        *erasure_routes.operations(parts.erasures),
        *usage_routes.operations(parts.usage),
    )
    return (*own, *system.operations(kit, own))


def speech_runner(kit: Kit) -> Runner:
    """The runner of audio work in a worker process. Its child processes start when they are needed."""
    # Imported here because an API process never needs it.
    from lapel.transcription.runner import Runner  # noqa: PLC0415
    from lapel.transcription.steps import steps_of  # noqa: PLC0415

    return Runner(kit, steps_of(kit))


def jobs(parts: Slices, runner: Runner) -> Sequence[Job]:
    """Every kind of background work."""
    return (
        *transcription_jobs.handlers(parts.transcriptions, runner),
        *recording_jobs.handlers(parts.recordings),
        *firmware_jobs.handlers(parts.firmware),
        *erasure_jobs.handlers(parts.erasures),
    )


def schedules(kit: Kit, parts: Slices, runner: Runner) -> Sequence[Schedule]:
    """Everything that runs on a schedule."""
    return (
        *transcription_jobs.schedules(runner, RemoteCopies(kit)),
        *recording_jobs.schedules(parts.recordings),
        *erasure_jobs.schedules(parts.erasures),
        *firmware_jobs.schedules(parts.firmware),
        *heartbeat_jobs.schedules(parts.heartbeats),
        *housekeeping.schedules(kit),
        *row_quota.schedules(kit),
    )
