"""Recordings, uploads and downloads over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Conflict
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes, created
from lapel.slices.end_users.service import READERS
from lapel.slices.erasure.service import HOLDING, Hold, PlaceHold, requested_by
from lapel.slices.recordings.access import reach
from lapel.slices.recordings.errors import (
    EncryptedUploadV2Required,
    IntegrityFailure,
    MediaNotUploaded,
    UploadVerificationPending,
)
from lapel.slices.recordings.uploads.start import UPLOAD_URLS
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
    from lapel.foundation.http.operations import Operation
    from lapel.slices.recordings.service import Recordings

_READ = Access("recordings:read", READERS, "filter")
_WRITE = Access("recordings:write", end_user_keys="filter")
_MAKE = Access("recordings:write", frozenset({"key", "device"}), "imply")
_UPLOAD = Access("recordings:write", frozenset({"key", "device", "upload"}), "filter")
_HOLD = Access("recordings:write", more_scopes=HOLDING)
_ROUTES = Routes("Recordings", read=_READ, write=_WRITE)
_ONE = "/v1/recordings/{recording_id}"
_SHORT = (
    "To a key without `recordings:read`, and to an upload token, `name`, `metadata`, the recording's times, "
    "`captured_at` and `transcription_id` are shown as empty unless the request gave them."
)


def operations(service: Recordings) -> tuple[Operation, ...]:
    """All routes of recordings."""
    return (*_records(service), *_holds(service), *_uploads(service), *_downloads(service))


def _records(service: Recordings) -> tuple[Operation, ...]:
    records = service.records
    return (
        _ROUTES.post("/v1/recordings", "create_recording", Recording, CreateRecording, access=_MAKE).stored(
            "Announce a recording",
            lambda call: created(records.create(call.connection, call.actor, call.body)),
            "If a device repeats a `recording_uuid` and `recording_generation`, and all other fields "
            "agree, the answer is 200 with the same recording. The answer has at most 64 KiB: if a "
            f"recording has very many media, it shows the audio and the newest ones. {_SHORT}",
            status=201,
            also=(200,),
            errors=(Conflict,),
            replay=lambda call, stored: records.replayed(call.actor, call.body, stored),
            audit="recording.created",
        ),
        _ROUTES.get("/v1/recordings", "list_recordings", RecordingPage, RecordingQuery).plain(
            "List recordings",
            lambda call: records.list(call.actor, call.query),
            "Newest first, each with its media.",
        ),
        _ROUTES.get(_ONE, "get_recording", Recording).plain(
            "Get a recording", lambda call: records.read(call.actor, reach(call.actor, call.id))
        ),
        _ROUTES.patch(_ONE, "update_recording", Recording, UpdateRecording).plain(
            "Change a recording",
            lambda call: records.update(call.actor, reach(call.actor, call.id), call.body),
            f"Absent fields stay, null clears, `metadata` is replaced as a whole. {_SHORT}",
            audit="recording.updated",
        ),
        _ROUTES.delete(_ONE, "delete_recording").plain(
            "Delete a recording",
            lambda call: service.deletion.delete(
                reach(call.actor, call.id), requested_by(call.actor), call.actor
            ),
            "From this answer on, no answer shows the recording, and download links that were issued before "
            "serve nothing, unless a hold keeps the recording or the store is too slow. A job erases all its "
            "objects, and the erasure ledger shows when they are gone.",
            natural=True,
            audit="recording.deleted",
        ),
    )


def _holds(service: Recordings) -> tuple[Operation, ...]:
    holds = service.holds
    return (
        _ROUTES.post(f"{_ONE}/hold", "hold_recording", Hold, PlaceHold, access=_HOLD).plain(
            "Place a legal hold on a recording",
            lambda call: created(holds.place(call.actor, call.id, call.body)),
            "Until the hold is released, a deletion hides the recording, and its media, transcriptions and "
            "objects stay. A recording that has a hold keeps it with its reason: the answer is then 200.",
            status=201,
            also=(200,),
            errors=(Conflict,),
            natural=True,
            audit="hold.placed",
        ),
        _ROUTES.delete(f"{_ONE}/hold", "release_recording", access=_HOLD).plain(
            "Release the legal hold of a recording",
            lambda call: holds.release(call.actor, call.id),
            "Also of a recording that was deleted meanwhile: it is erased now, unless its end user has a "
            "hold. A repeat is 204; a recording that never had a hold is 404.",
            errors=(Conflict,),
            natural=True,
            audit="hold.released",
        ),
    )


def _uploads(service: Recordings) -> tuple[Operation, ...]:
    uploads, completion = service.uploads, service.completion
    return (
        _ROUTES.post(f"{_ONE}/upload-url", "create_upload_url", Upload, StartUpload, access=_UPLOAD).stored(
            "Ask where to upload a media",
            lambda call: uploads.start(call.connection, call.actor, reach(call.actor, call.id), call.body),
            "PUT the bytes to `upload_url` with exactly the given `headers` and without "
            "`Authorization`, then complete the upload.",
            errors=(Conflict, EncryptedUploadV2Required, UploadVerificationPending),
            bucket=UPLOAD_URLS,
            replay=lambda call, stored: uploads.replay(call.actor, reach(call.actor, call.id), stored),
            audit="recording.upload_started",
        ),
        _ROUTES.post(
            f"{_ONE}/upload-complete", "complete_upload", Recording, CompleteUpload, access=_UPLOAD
        ).plain(
            "Complete an upload",
            lambda call: completion.complete(call.actor, reach(call.actor, call.id), call.body),
            "200 means that the bytes are verified, are kept and can be downloaded. 425 means that the "
            f"verification is under way: repeat the identical request. {_SHORT}",
            errors=(
                Conflict,
                MediaNotUploaded,
                IntegrityFailure,
                EncryptedUploadV2Required,
                UploadVerificationPending,
            ),
            natural=True,
            slow=True,
            audit="recording.upload_completed",
        ),
    )


def _downloads(service: Recordings) -> tuple[Operation, ...]:
    downloads = service.downloads
    return (
        _ROUTES.post(
            f"{_ONE}/download-url", "create_download_url", Download, DownloadRequest, access=_READ
        ).plain(
            "Ask for a link to a media",
            lambda call: downloads.of_media(reach(call.actor, call.id), call.body),
            "Any HTTP client can GET the signed link, also with ranges, until it expires.",
            errors=(MediaNotUploaded,),
            unaudited="It signs a link, and writes nothing.",
        ),
        _ROUTES.get(f"{_ONE}/download-url", "get_download_url", AudioDownload, DownloadQuery).plain(
            "Ask for a link to the audio",
            lambda call: downloads.of_audio(reach(call.actor, call.id), call.query),
            "A signed link to the recording's audio.",
            errors=(MediaNotUploaded,),
        ),
    )
