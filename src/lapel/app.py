"""The list of all slices, and the hooks between them. Only this module of Lapel knows every slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database import audit, outbox
from lapel.foundation.http.strategies.idempotency import erase_some_answers
from lapel.foundation.slices import Services
from lapel.slices.ask.service import Ask, erase_some_sessions
from lapel.slices.ask.slice import SLICE as ASK
from lapel.slices.audit.slice import SLICE as AUDIT
from lapel.slices.claims.slice import SLICE as CLAIMS
from lapel.slices.commands.service import cancel_open, erase_commands_of_devices, erase_some_commands
from lapel.slices.commands.slice import SLICE as COMMANDS
from lapel.slices.configuration.service import Configuration
from lapel.slices.configuration.slice import SLICE as CONFIGURATION
from lapel.slices.devices.service import DeviceBindings, Devices, forget_reports
from lapel.slices.devices.slice import SLICE as DEVICES
from lapel.slices.embeddings.slice import SLICE as EMBEDDINGS
from lapel.slices.encrypted_uploads.policies.upload_policies import UploadPolicies
from lapel.slices.encrypted_uploads.service import last_upload_ends
from lapel.slices.encrypted_uploads.slice import SLICE as ENCRYPTED_UPLOADS
from lapel.slices.end_user_exports.slice import SLICE as END_USER_EXPORTS
from lapel.slices.end_users.end_user_holds import EndUserHolds
from lapel.slices.end_users.service import EndUsers
from lapel.slices.end_users.slice import SLICE as END_USERS
from lapel.slices.erasure.slice import SLICE as ERASURE
from lapel.slices.events.slice import SLICE as EVENTS
from lapel.slices.firmware.service import Firmware
from lapel.slices.firmware.slice import SLICE as FIRMWARE
from lapel.slices.heartbeats.service import erase_diagnostics_of_devices, erase_some_diagnostics
from lapel.slices.heartbeats.slice import SLICE as HEARTBEATS
from lapel.slices.language_models.slice import SLICE as LANGUAGE_MODELS
from lapel.slices.logs.slice import SLICE as LOGS
from lapel.slices.mcp.slice import SLICE as MCP
from lapel.slices.projects.service import Keys
from lapel.slices.projects.slice import SLICE as PROJECTS
from lapel.slices.providers.slice import SLICE as PROVIDERS
from lapel.slices.recordings.service import Recordings
from lapel.slices.recordings.slice import SLICE as RECORDINGS
from lapel.slices.retention.slice import SLICE as RETENTION
from lapel.slices.search.service import TranscriptIndex
from lapel.slices.search.slice import SLICE as SEARCH
from lapel.slices.summaries.service import Summaries
from lapel.slices.summaries.slice import SLICE as SUMMARIES
from lapel.slices.system.slice import SLICE as SYSTEM
from lapel.slices.transcription.service import Transcriptions
from lapel.slices.transcription.slice import SLICE as TRANSCRIPTION
from lapel.slices.usage.slice import SLICE as USAGE
from lapel.slices.webhooks.records.endings import erase_some_deliveries
from lapel.slices.webhooks.service import Webhooks
from lapel.slices.webhooks.slice import SLICE as WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.ports import Ports
    from lapel.foundation.slices import Slice

# A slice comes after the slices whose services it uses. Documents list the slices in this order.
SLICES: tuple[Slice, ...] = (
    PROJECTS,
    END_USERS,
    DEVICES,
    COMMANDS,
    FIRMWARE,
    HEARTBEATS,
    CONFIGURATION,
    AUDIT,
    RECORDINGS,
    ENCRYPTED_UPLOADS,
    PROVIDERS,
    TRANSCRIPTION,
    EMBEDDINGS,
    SEARCH,
    LANGUAGE_MODELS,
    CLAIMS,
    SUMMARIES,
    ASK,
    MCP,
    WEBHOOKS,
    ERASURE,
    RETENTION,
    END_USER_EXPORTS,
    EVENTS,
    LOGS,
    USAGE,
    SYSTEM,
)


def open_services(ports: Ports, slices: Sequence[Slice] = SLICES) -> Services:
    """All services of one process, connected by hooks."""
    services = Services(ports, slices)
    _connect(services)
    return services


def _connect(services: Services) -> None:
    """Lets other slices act when one slice binds, unbinds, stores or deletes."""
    keys, end_users, devices = services[Keys], services[EndUsers], services[Devices]
    firmware, configuration = services[Firmware], services[Configuration]
    recordings, transcriptions = services[Recordings], services[Transcriptions]
    summaries = services[Summaries]
    # A hook that locks the whole organization comes last.
    bindings = services[DeviceBindings]
    bindings.on_bind.append(configuration.raise_devices)
    bindings.on_unbind.extend([cancel_open, forget_reports, configuration.raise_devices])
    devices.on_delete.extend(
        [
            erase_commands_of_devices,
            firmware.cancel_of_devices,
            erase_diagnostics_of_devices,
            configuration.forget_devices,
        ]
    )
    keys.on_revoke_issued.append(services[Webhooks].disable_of_key)
    recordings.before_upload.append(services[UploadPolicies].refuse_plain)
    recordings.on_audio.append(transcriptions.announce_audio)
    index = services[TranscriptIndex]
    recordings.on_rename.append(index.rename)
    recordings.on_delete.extend(
        [
            transcriptions.erase_of_recordings,
            summaries.erase_of_recordings,
            index.erase_of_recordings,
            services[Ask].erase_of_recordings,
        ]
    )
    recordings.last_upload_ends.append(last_upload_ends)
    transcriptions.on_complete.extend([index.replace, summaries.summarize_completed])
    recordings.of_end_user.extend(
        [
            erase_some_sessions,
            erase_some_commands,
            erase_some_diagnostics,
            # An event may have a delivery for each webhook of its world, so these go in batches of their own.
            erase_some_deliveries,
            outbox.erase_some_of_end_user,
        ]
    )
    # A running request locks a row that its answer names: the end user, a device, a command or a recording.
    # It stores answer and audit entry in the same transaction. The deletion of the end user, and the
    # erasures before these two, wait for these locks.
    recordings.last_of_end_user.extend([erase_some_answers, audit.erase_some_details])
    services[EndUserHolds].on_release.append(recordings.holds.start_released)
    end_users.on_delete.extend(
        [
            keys.revoke_all_of,
            bindings.unbind_all_of,
            configuration.forget_end_user,
            recordings.deletion.start_end_user,
        ]
    )
