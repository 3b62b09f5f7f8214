"""Firmware over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, NotFound, ResourceAlreadyExists
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.input.forms import FormFile
from lapel.foundation.http.routes import Routes
from lapel.slices.end_users.service import READERS
from lapel.slices.firmware.wire import (
    Assignment,
    Assignments,
    AssignRelease,
    CreateRollout,
    CurrentAssignment,
    DownloadQuery,
    FirmwareDownload,
    HistoryQuery,
    Release,
    ReleasePage,
    ReleaseQuery,
    Rollout,
    RolloutPage,
    RolloutQuery,
    UploadRelease,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.firmware.service import Firmware

_TAG = "Firmware"
_RELEASES = "/v1/firmware-releases"
_RELEASE = f"{_RELEASES}/{{release_id}}"
_ROLLOUTS = f"{_RELEASE}/rollouts"
_ROLLOUT = f"{_ROLLOUTS}/{{rollout_id}}"
_OTA = "/v1/devices/{device_id}/ota"
_READ = Access("devices:read")
_READ_OWN = Access("devices:read", end_user_keys="filter")
_READ_DEVICE = Access("devices:read", READERS, "filter")
_WRITE = Access("firmware:write")


def operations(service: Firmware) -> tuple[Operation, ...]:
    """All routes of firmware."""
    return (*_releases(service), *_offers(service), *_rollouts(service))


def _releases(service: Firmware) -> tuple[Operation, ...]:
    releases, most = service.releases, service.releases.max_bytes
    firmware = Routes(_TAG, read=_READ, write=_WRITE)
    return (
        firmware.post(_RELEASES, "create_firmware_release", Release, UploadRelease).form(
            "Upload a firmware release",
            lambda call: releases.upload(call.actor, call.form),
            "`multipart/form-data`. The server computes SHA-256 and CRC-32 from the received bytes. A model "
            "has only one release of each version: a second one is 409, and `resource_id` names the first. "
            "Devices get no offer before the release is released.",
            files=(
                FormFile("bin", ".bin", "The firmware.", most, required=True),
                FormFile("ufw", ".ufw", "The file for updates through an app.", most, required=False),
            ),
            status=201,
            errors=(ResourceAlreadyExists,),
            natural=True,
            audit="firmware.created",
        ),
        firmware.get(_RELEASES, "list_firmware_releases", ReleasePage, ReleaseQuery, access=_READ_OWN).plain(
            "List firmware releases, newest first",
            lambda call: releases.list(call.actor, call.query),
            "With `device_id`: the released firmware for the model of that device. Otherwise: all firmware.",
            errors=(NotFound,),
        ),
        firmware.get(_RELEASE, "get_firmware_release", Release).plain(
            "Read a firmware release", lambda call: releases.read(call.actor, call.id)
        ),
        firmware.post(f"{_RELEASE}/release", "release_firmware", Release).plain(
            "Release firmware",
            lambda call: releases.release(call.actor, call.id),
            "After this, the release may be offered to devices. Repeating this call has no effect.",
            natural=True,
            audit="firmware.released",
        ),
        firmware.get(
            f"{_RELEASE}/download-url", "get_firmware_download_url", FirmwareDownload, DownloadQuery
        ).plain(
            "Get a link to a file of a release",
            lambda call: releases.download(call.actor, call.id, call.query),
            "If the release has no `ufw`, the link is to its `bin`. A link is valid for an hour.",
        ),
    )


def _offers(service: Firmware) -> tuple[Operation, ...]:
    offers = service.offers
    device = Routes(_TAG, read=_READ_DEVICE, write=_WRITE)
    return (
        device.post(_OTA, "assign_firmware", Assignment, AssignRelease).stored(
            "Offer a release to a device",
            lambda call: offers.assign(call.connection, call.actor, call.id, call.body),
            "The answers to the device's heartbeats have the offer, which replaces the previous offer. 409 "
            "if the firmware is not released, if the device already runs this version, or if it would be a "
            "downgrade that the release does not allow.",
            status=201,
            errors=(Conflict,),
            audit="ota.assigned",
        ),
        device.delete(_OTA, "cancel_firmware").plain(
            "Withdraw the offer to a device",
            lambda call: offers.cancel(call.actor, call.id),
            "If no offer is open, nothing happens.",
            natural=True,
            audit="ota.cancelled",
        ),
        device.get(_OTA, "get_device_ota", CurrentAssignment).plain(
            "Read the newest offer to a device",
            lambda call: offers.current(call.actor, call.id),
            "The newest update, in any status; `data` is null if there never was one.",
        ),
        device.get(f"{_OTA}/history", "list_device_ota_history", Assignments, HistoryQuery).plain(
            "List the offers to a device, newest first",
            lambda call: offers.history(call.actor, call.id, call.query),
        ),
    )


def _rollouts(service: Firmware) -> tuple[Operation, ...]:
    rollouts = service.rollouts
    release = Routes(_TAG, read=_READ, write=_WRITE)
    return (
        release.post(_ROLLOUTS, "create_rollout", Rollout, CreateRollout).stored(
            "Start a rollout of a release",
            lambda call: rollouts.create(call.connection, call.actor, call.id, call.body),
            "Offers the release to `percent` % of the model's devices, and to the same share of the devices "
            "that are added while the rollout runs. If more than `max_failure_rate` of the ended updates "
            "failed, the rollout halts; this is checked once five updates have ended, or once all have. "
            "Starting a rollout halts the rollout that is under way for the same model.",
            status=201,
            errors=(Conflict,),
            audit="rollout.created",
        ),
        release.get(_ROLLOUTS, "list_rollouts", RolloutPage, RolloutQuery).plain(
            "List a release's rollouts, newest first",
            lambda call: rollouts.list(call.actor, call.id, call.query),
        ),
        release.get(_ROLLOUT, "get_rollout", Rollout).plain(
            "Read a rollout", lambda call: rollouts.read(call.actor, call.id, call.params["rollout_id"])
        ),
        release.post(f"{_ROLLOUT}/pause", "pause_rollout", Rollout).plain(
            "Pause a rollout",
            lambda call: rollouts.pause(call.actor, call.id, call.params["rollout_id"]),
            "Devices get no new offers, and offers that are still `pending` are withdrawn. Devices whose "
            "offer is `delivered` continue. 409 if the rollout has ended.",
            errors=(Conflict,),
            natural=True,
            audit="rollout.paused",
        ),
        release.post(f"{_ROLLOUT}/resume", "resume_rollout", Rollout).plain(
            "Resume a rollout",
            lambda call: rollouts.resume(call.actor, call.id, call.params["rollout_id"]),
            "409 if the rollout has ended.",
            errors=(Conflict,),
            natural=True,
            audit="rollout.resumed",
        ),
    )
