"""Recordings, uploads and downloads over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict, NotFound, Unavailable
from lapel.foundation.http.operations import NoBody, NoQuery, Operation, Params, Reply
from lapel.slices.recordings.access import reach
from lapel.slices.recordings.errors import IntegrityFailure, MediaNotUploaded, UploadVerificationPending
from lapel.slices.recordings.wire import (
    AudioDownload,
    CompleteUpload,
    CreateRecording,
    Download,
    DownloadQuery,
    DownloadRequest,
    Recording,
    RecordingPage,
    RecordingQuery,
    StartUpload,
    UpdateRecording,
    Upload,
)

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.service import Recordings

_TAG = "Recordings"
_READERS: frozenset[ActorKind] = frozenset({"key", "end_user"})
_MAKERS: frozenset[ActorKind] = frozenset({"key", "device"})
_UPLOADERS: frozenset[ActorKind] = frozenset({"key", "device", "upload"})
_ONE = "/v1/recordings/{recording_id}"


class _Routes:
    def __init__(self, service: Recordings) -> None:
        self._service = service

    async def create(
        self, connection: Connection, actor: Actor, _params: Params, _query: NoQuery, body: CreateRecording
    ) -> Reply:
        recording, new = await self._service.records.create(connection, actor, body)
        return Reply(recording, 201 if new else 200)

    async def created_again(self, actor: Actor, _params: Params, stored: Recording) -> Recording:
        return await self._service.records.replayed(actor, stored)

    async def list(
        self, actor: Actor, _params: Params, query: RecordingQuery, _body: NoBody
    ) -> RecordingPage:
        return await self._service.records.list(actor, query)

    async def read(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> Recording:
        return await self._service.records.read(actor, reach(actor, params))

    async def update(self, actor: Actor, params: Params, _query: NoQuery, body: UpdateRecording) -> Recording:
        return await self._service.records.update(actor, reach(actor, params), body)

    async def delete(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._service.deletion.delete(reach(actor, params))

    async def start_upload(
        self, connection: Connection, actor: Actor, params: Params, _query: NoQuery, body: StartUpload
    ) -> Upload:
        return await self._service.uploads.start(connection, actor, reach(actor, params), body)

    async def started_again(self, actor: Actor, params: Params, stored: Upload) -> Upload:
        return await self._service.uploads.replay(actor, reach(actor, params), stored)

    async def complete_upload(
        self, actor: Actor, params: Params, _query: NoQuery, body: CompleteUpload
    ) -> Recording:
        return await self._service.completion.complete(actor, reach(actor, params), body)

    async def link_media(
        self, actor: Actor, params: Params, _query: NoQuery, body: DownloadRequest
    ) -> Download:
        return await self._service.downloads.of_media(reach(actor, params), body)

    async def link_audio(
        self, actor: Actor, params: Params, query: DownloadQuery, _body: NoBody
    ) -> AudioDownload:
        return await self._service.downloads.of_audio(reach(actor, params), query)


def operations(service: Recordings) -> tuple[Operation, ...]:
    """All routes of recordings."""
    routes = _Routes(service)
    return (*_records(routes), *_uploads(routes), *_downloads(routes))


def _records(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path="/v1/recordings",
            name="create_recording",
            summary="Announce a recording",
            description="A device that repeats `recording_uuid` and `recording_generation` gets the same "
            "recording again with status 200, if everything else agrees.",
            tag=_TAG,
            handler=routes.create,
            replay=routes.created_again,
            scope="recordings:write",
            callers=_MAKERS,
            end_user_keys="imply",
            body=CreateRecording,
            response=Recording,
            status=201,
            also=(200,),
            errors=(NotFound, Conflict),
            idempotency="stored",
        ),
        Operation(
            method="GET",
            path="/v1/recordings",
            name="list_recordings",
            summary="List recordings",
            description="Newest first, each with its media.",
            tag=_TAG,
            handler=routes.list,
            scope="recordings:read",
            callers=_READERS,
            end_user_keys="filter",
            query=RecordingQuery,
            response=RecordingPage,
        ),
        Operation(
            method="GET",
            path=_ONE,
            name="get_recording",
            summary="Get a recording",
            tag=_TAG,
            handler=routes.read,
            scope="recordings:read",
            callers=_READERS,
            end_user_keys="filter",
            response=Recording,
            errors=(NotFound,),
        ),
        Operation(
            method="PATCH",
            path=_ONE,
            name="update_recording",
            summary="Change a recording",
            description="What is absent stays, null clears, `metadata` is replaced as a whole.",
            tag=_TAG,
            handler=routes.update,
            scope="recordings:write",
            end_user_keys="filter",
            body=UpdateRecording,
            response=Recording,
            errors=(NotFound,),
            idempotency="natural",
        ),
        Operation(
            method="DELETE",
            path=_ONE,
            name="delete_recording",
            summary="Delete a recording",
            description="Gone from every answer at once; its objects follow, see the erasure ledger.",
            tag=_TAG,
            handler=routes.delete,
            scope="recordings:write",
            end_user_keys="filter",
            status=204,
            answer="empty",
            errors=(NotFound,),
            idempotency="natural",
        ),
    )


def _uploads(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path=f"{_ONE}/upload-url",
            name="create_upload_url",
            summary="Ask where to upload a media",
            description="PUT the exact bytes to `upload_url` with exactly the `headers` given, without "
            "`Authorization`; then complete the upload.",
            tag=_TAG,
            handler=routes.start_upload,
            replay=routes.started_again,
            scope="recordings:write",
            callers=_UPLOADERS,
            end_user_keys="filter",
            body=StartUpload,
            response=Upload,
            errors=(NotFound, Conflict, UploadVerificationPending, Unavailable),
            idempotency="stored",
            bucket="upload_url",
        ),
        Operation(
            method="POST",
            path=f"{_ONE}/upload-complete",
            name="complete_upload",
            summary="Complete an upload",
            description="200 means: what was taken is verified, kept and can be downloaded. 425 means: "
            "it is being verified; repeat the identical request.",
            tag=_TAG,
            handler=routes.complete_upload,
            scope="recordings:write",
            callers=_UPLOADERS,
            end_user_keys="filter",
            body=CompleteUpload,
            response=Recording,
            slow=True,
            errors=(
                NotFound,
                Conflict,
                MediaNotUploaded,
                IntegrityFailure,
                UploadVerificationPending,
                Unavailable,
            ),
            idempotency="natural",
        ),
    )


def _downloads(routes: _Routes) -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path=f"{_ONE}/download-url",
            name="create_download_url",
            summary="Ask for a link to a media",
            description="A signed link that any HTTP client can GET, with ranges, until it expires.",
            tag=_TAG,
            handler=routes.link_media,
            scope="recordings:read",
            callers=_READERS,
            end_user_keys="filter",
            body=DownloadRequest,
            response=Download,
            errors=(NotFound, MediaNotUploaded, Unavailable),
        ),
        Operation(
            method="GET",
            path=f"{_ONE}/download-url",
            name="get_download_url",
            summary="Ask for a link to the audio",
            description="The same for the recording's one audio.",
            tag=_TAG,
            handler=routes.link_audio,
            scope="recordings:read",
            callers=_READERS,
            end_user_keys="filter",
            query=DownloadQuery,
            response=AudioDownload,
            errors=(NotFound, MediaNotUploaded, Unavailable),
        ),
    )
