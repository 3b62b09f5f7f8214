"""Firmware over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, NotFound, ResourceAlreadyExists
from lapel.foundation.http.operations import FormFile, NoBody, NoQuery, Operation, Params
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
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.forms import Form
    from lapel.slices.firmware.service import Firmware

_TAG = "Firmware"
_RELEASES = "/v1/firmware-releases"
_ROLLOUTS = f"{_RELEASES}/{{release_id}}/rollouts"
_OTA = "/v1/devices/{device_id}/ota"
_READERS: frozenset[ActorKind] = frozenset({"key", "end_user"})


class _Routes:
    def __init__(self, service: Firmware) -> None:
        self._releases = service.releases
        self._offers = service.offers
        self._rollouts = service.rollouts

    async def upload(
        self, actor: Actor, _params: Params, _query: NoQuery, form: Form[UploadRelease]
    ) -> Release:
        return await self._releases.upload(actor, form)

    async def release(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Release:
        return await self._releases.release(actor, params["release_id"])

    async def list_releases(
        self, actor: Actor, _params: Params, query: ReleaseQuery, _body: NoBody
    ) -> ReleasePage:
        return await self._releases.list(actor, query)

    async def read_release(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Release:
        return await self._releases.read(actor, params["release_id"])

    async def download(
        self, actor: Actor, params: Params, query: DownloadQuery, _body: NoBody
    ) -> FirmwareDownload:
        return await self._releases.download(actor, params["release_id"], query)

    async def assign(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: AssignRelease
    ) -> Assignment:
        return await self._offers.assign(connection, actor, params["device_id"], body)

    async def cancel(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._offers.cancel(actor, params["device_id"])

    async def current(
        self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody
    ) -> CurrentAssignment:
        return await self._offers.current(actor, params["device_id"])

    async def history(self, actor: Actor, params: Params, query: HistoryQuery, _body: NoBody) -> Assignments:
        return await self._offers.history(actor, params["device_id"], query)

    async def create_rollout(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: CreateRollout
    ) -> Rollout:
        return await self._rollouts.create(connection, actor, params["release_id"], body)

    async def list_rollouts(
        self, actor: Actor, params: Params, query: RolloutQuery, _body: NoBody
    ) -> RolloutPage:
        return await self._rollouts.list(actor, params["release_id"], query)

    async def read_rollout(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Rollout:
        return await self._rollouts.read(actor, params["release_id"], params["rollout_id"])

    async def pause(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Rollout:
        return await self._rollouts.pause(actor, params["release_id"], params["rollout_id"])

    async def resume(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Rollout:
        return await self._rollouts.resume(actor, params["release_id"], params["rollout_id"])


def operations(service: Firmware) -> tuple[Operation, ...]:
    """All routes of firmware."""
    routes = _Routes(service)
    return (
        *_releases(routes, service.releases.max_bytes),
        *_offers(routes),
        *_rollouts(routes),
    )


def _releases(routes: _Routes, max_bytes: int) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path=_RELEASES,
            name="create_firmware_release",
            summary="Upload a firmware release",
            description=(
                "`multipart/form-data`, streamed; SHA-256 and CRC-32 are of what arrived. A model has one "
                "release of each version: a repeat is 409 with the `resource_id` of the first. Nobody is "
                "offered the release before it is released."
            ),
            tag=_TAG,
            handler=routes.upload,
            scope="firmware:write",
            body=UploadRelease,
            files=(
                FormFile(
                    name="bin", suffix=".bin", max_bytes=max_bytes, required=True, description="The firmware."
                ),
                FormFile(
                    name="ufw",
                    suffix=".ufw",
                    max_bytes=max_bytes,
                    required=False,
                    description="The same for updates through an app.",
                ),
            ),
            response=Release,
            status=201,
            errors=(ResourceAlreadyExists,),
            idempotency="natural",
        ),
        Operation(
            method="GET",
            path=_RELEASES,
            name="list_firmware_releases",
            summary="List firmware releases, newest first",
            description="With `device_id` what is released for that device's model, else everything.",
            tag=_TAG,
            handler=routes.list_releases,
            scope="devices:read",
            end_user_keys="filter",
            query=ReleaseQuery,
            response=ReleasePage,
            errors=(NotFound,),
        ),
        Operation(
            method="GET",
            path=f"{_RELEASES}/{{release_id}}",
            name="get_firmware_release",
            summary="Read a firmware release",
            tag=_TAG,
            handler=routes.read_release,
            scope="devices:read",
            response=Release,
        ),
        Operation(
            method="POST",
            path=f"{_RELEASES}/{{release_id}}/release",
            name="release_firmware",
            summary="Release firmware",
            description="From now on it may be offered to devices. No effect when it is released.",
            tag=_TAG,
            handler=routes.release,
            scope="firmware:write",
            response=Release,
            idempotency="natural",
        ),
        Operation(
            method="GET",
            path=f"{_RELEASES}/{{release_id}}/download-url",
            name="get_firmware_download_url",
            summary="Get a link to a file of a release",
            description="When the release has no `ufw`, a link to its `bin`. A link is valid for an hour.",
            tag=_TAG,
            handler=routes.download,
            scope="devices:read",
            query=DownloadQuery,
            response=FirmwareDownload,
        ),
    )


def _offers(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path=_OTA,
            name="assign_firmware",
            summary="Offer a release to a device",
            description=(
                "It rides in the answer of the device's next heartbeats, in place of what was offered "
                "before. 409 for what is not released, what the device runs already, and for a downgrade "
                "that the release does not allow."
            ),
            tag=_TAG,
            handler=routes.assign,
            scope="firmware:write",
            body=AssignRelease,
            response=Assignment,
            status=201,
            errors=(Conflict,),
            idempotency="stored",
        ),
        Operation(
            method="DELETE",
            path=_OTA,
            name="cancel_firmware",
            summary="Take back what a device is offered",
            description="No effect when nothing is.",
            tag=_TAG,
            handler=routes.cancel,
            scope="firmware:write",
            answer="empty",
            status=204,
            idempotency="natural",
        ),
        Operation(
            method="GET",
            path=_OTA,
            name="get_device_ota",
            summary="Read what a device was offered last",
            description="The newest update whatever its status; `data` is null when there never was one.",
            tag=_TAG,
            handler=routes.current,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            response=CurrentAssignment,
        ),
        Operation(
            method="GET",
            path=f"{_OTA}/history",
            name="list_device_ota_history",
            summary="List what a device was offered, newest first",
            tag=_TAG,
            handler=routes.history,
            scope="devices:read",
            callers=_READERS,
            end_user_keys="filter",
            query=HistoryQuery,
            response=Assignments,
        ),
    )


def _rollouts(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path=_ROLLOUTS,
            name="create_rollout",
            summary="Roll a release out",
            description=(
                "Offers it to `percent` of the model's devices, and to devices that come later. It halts "
                "when more than `max_failure_rate` of the ended updates failed, once five have ended, or all "
                "of them. A rollout that is under way for the model is halted."
            ),
            tag=_TAG,
            handler=routes.create_rollout,
            scope="firmware:write",
            body=CreateRollout,
            response=Rollout,
            status=201,
            errors=(Conflict,),
            idempotency="stored",
        ),
        Operation(
            method="GET",
            path=_ROLLOUTS,
            name="list_rollouts",
            summary="List a release's rollouts, newest first",
            tag=_TAG,
            handler=routes.list_rollouts,
            scope="devices:read",
            query=RolloutQuery,
            response=RolloutPage,
        ),
        Operation(
            method="GET",
            path=f"{_ROLLOUTS}/{{rollout_id}}",
            name="get_rollout",
            summary="Read a rollout",
            tag=_TAG,
            handler=routes.read_rollout,
            scope="devices:read",
            response=Rollout,
        ),
        Operation(
            method="POST",
            path=f"{_ROLLOUTS}/{{rollout_id}}/pause",
            name="pause_rollout",
            summary="Pause a rollout",
            description="Devices that have begun go on. 409 when it is over.",
            tag=_TAG,
            handler=routes.pause,
            scope="firmware:write",
            response=Rollout,
            errors=(Conflict,),
            idempotency="natural",
        ),
        Operation(
            method="POST",
            path=f"{_ROLLOUTS}/{{rollout_id}}/resume",
            name="resume_rollout",
            summary="Resume a rollout",
            description="409 when it is over.",
            tag=_TAG,
            handler=routes.resume,
            scope="firmware:write",
            response=Rollout,
            errors=(Conflict,),
            idempotency="natural",
        ),
    )
