"""Puts the slices together; the only file that knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.database import outbox
from lapel.foundation.http.strategies.idempotency import erase_some_answers
from lapel.slices.audit import routes as audit_routes
from lapel.slices.audit.service import AuditLog
from lapel.slices.commands import routes as command_routes
from lapel.slices.commands import service as commands
from lapel.slices.configuration import routes as configuration_routes
from lapel.slices.configuration.service import Configuration
from lapel.slices.devices import routes as device_routes
from lapel.slices.devices.service import Devices
from lapel.slices.end_users import routes as end_user_routes
from lapel.slices.end_users.service import EndUsers
from lapel.slices.erasure import jobs as erasure_jobs
from lapel.slices.erasure import routes as erasure_routes
from lapel.slices.erasure.service import Erasures
from lapel.slices.firmware import jobs as firmware_jobs
from lapel.slices.firmware import routes as firmware_routes
from lapel.slices.firmware.service import Firmware
from lapel.slices.heartbeats import jobs as heartbeat_jobs
from lapel.slices.heartbeats import routes as heartbeat_routes
from lapel.slices.heartbeats import service as heartbeats
from lapel.slices.heartbeats.service import Heartbeats
from lapel.slices.projects import routes as project_routes
from lapel.slices.projects.service import Keys, Projects
from lapel.slices.recordings import jobs as recording_jobs
from lapel.slices.recordings import routes as recording_routes
from lapel.slices.recordings.service import Recordings
from lapel.slices.system import jobs as system_jobs
from lapel.slices.system import routes as system_routes
from lapel.slices.transcription import jobs as transcription_jobs
from lapel.slices.transcription import routes as transcription_routes
from lapel.slices.transcription.copies.remote_copies import RemoteCopies
from lapel.slices.transcription.service import Transcriptions
from lapel.slices.usage import routes as usage_routes
from lapel.slices.usage.service import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.http.operations import Operation
    from lapel.foundation.ports import Ports
    from lapel.foundation.queue.jobs import Job, Schedule
    from lapel.slices.transcription.work.runner import Runner


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
    usage: UsageMeter


def slices(ports: Ports) -> Slices:
    """All services of one process.

    Also registers the hooks by which a slice acts when another one binds, unbinds, stores or deletes.
    """
    keys = Keys(ports)
    firmware = Firmware(ports)
    configuration = Configuration(ports)
    # A hook that locks the whole organization comes last.
    devices = Devices(
        ports,
        on_bind=[configuration.raise_devices],
        on_unbind=[commands.cancel_open, heartbeats.forget_binding, configuration.raise_devices],
        on_delete=[
            commands.erase_of_devices,
            firmware.cancel_of_devices,
            heartbeats.erase_of_devices,
            configuration.forget_devices,
        ],
    )
    all_commands = commands.Commands(ports, devices)
    erasures = Erasures(ports)
    transcriptions = Transcriptions(ports, configuration)
    recordings = Recordings(
        ports,
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
        ports,
        keys,
        on_delete=[
            keys.revoke_all_of,
            devices.unbind_all_of,
            configuration.forget_end_user,
            recordings.deletion.start_end_user,
        ],
    )
    return Slices(
        projects=Projects(ports),
        keys=keys,
        end_users=end_users,
        devices=devices,
        commands=all_commands,
        firmware=firmware,
        heartbeats=Heartbeats(ports, devices, all_commands, firmware),
        configuration=configuration,
        audit_log=AuditLog(ports),
        recordings=recordings,
        erasures=erasures,
        transcriptions=transcriptions,
        usage=UsageMeter(ports),
    )


def operations(ports: Ports, parts: Slices) -> tuple[Operation, ...]:
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
    return (*own, *system_routes.operations(ports, own))


def speech_runner(ports: Ports) -> Runner:
    """The runner of audio work in a worker process. Its child processes start when they are needed."""
    # Imported here because an API process never needs it.
    from lapel.slices.transcription.work.runner import Runner  # noqa: PLC0415
    from lapel.slices.transcription.work.tools import worker_stages  # noqa: PLC0415

    return Runner(ports, worker_stages(ports))


def jobs(parts: Slices, runner: Runner) -> Sequence[Job]:
    """Every kind of background work."""
    return (
        *transcription_jobs.handlers(parts.transcriptions, runner),
        *recording_jobs.handlers(parts.recordings),
        *firmware_jobs.handlers(parts.firmware),
        *erasure_jobs.handlers(parts.erasures),
    )


def schedules(ports: Ports, parts: Slices, runner: Runner) -> Sequence[Schedule]:
    """Everything that runs on a schedule."""
    return (
        *transcription_jobs.schedules(runner, RemoteCopies(ports)),
        *recording_jobs.schedules(parts.recordings),
        *erasure_jobs.schedules(parts.erasures),
        *firmware_jobs.schedules(parts.firmware),
        *heartbeat_jobs.schedules(parts.heartbeats),
        *system_jobs.schedules(ports),
    )
