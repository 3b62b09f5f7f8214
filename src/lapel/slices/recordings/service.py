"""The parts of the recordings slice, put together for routes, jobs and other slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lapel.slices.erasure.service import Erasures, Holds
from lapel.slices.recordings.access import PRESENT, Reach
from lapel.slices.recordings.audio.audio_publication import AudioPublication, PlainAudio, PlainAudioPlace
from lapel.slices.recordings.audio.audio_queries import (
    TITLE,
    end_user_of_recording,
    seen_recording,
    set_examined,
    set_transcription,
    set_unreadable,
    titled_recording,
)
from lapel.slices.recordings.audio.service import Audio, KnownRecording, audio_of, find_audio, lock_recording
from lapel.slices.recordings.content_types import largest
from lapel.slices.recordings.deletion.ages import (
    AGE_COLUMNS,
    AUDIO_BYTES,
    BY_AGE,
    RECEIVED,
    AgeScope,
    ErasedKind,
    other_bytes,
    received_before,
)
from lapel.slices.recordings.deletion.recording_holds import RecordingHolds
from lapel.slices.recordings.deletion.service import Deletion
from lapel.slices.recordings.downloads.service import Downloads
from lapel.slices.recordings.reconcile.reconcile_queries import FINDINGS
from lapel.slices.recordings.reconcile.reconciler import Reconciler
from lapel.slices.recordings.records.identity import find_identity, give_identity
from lapel.slices.recordings.records.identity_queries import IdentityRow
from lapel.slices.recordings.records.mention_queries import (
    MentionedRow,
    find_mentioned,
    name_of_recording,
    share_mentioned,
)
from lapel.slices.recordings.records.record_queries import (
    ACTIVE_RECORDING,
    COUNT_PRESENT,
    GOING,
    PRESENT_BYTES,
)
from lapel.slices.recordings.records.service import OnRename, Records
from lapel.slices.recordings.records.time_queries import RecordedBetween, count_recorded, find_recorded
from lapel.slices.recordings.uploads.completion import Completion
from lapel.slices.recordings.uploads.start import UPLOAD_URLS, URL_SECONDS, Uploads
from lapel.slices.recordings.wire import RecordingQuery

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.recordings.deletion.service import EraseSome, LastUploadEnds, OnDelete
    from lapel.slices.recordings.uploads.commit import OnAudio
    from lapel.slices.recordings.uploads.start import BeforeUpload

__all__ = [
    "ACTIVE_RECORDING",
    "AGE_COLUMNS",
    "AUDIO_BYTES",
    "BY_AGE",
    "COUNT_PRESENT",
    "FINDINGS",
    "GOING",
    "PRESENT",
    "PRESENT_BYTES",
    "RECEIVED",
    "TITLE",
    "UPLOAD_URLS",
    "URL_SECONDS",
    "AgeScope",
    "Audio",
    "AudioPublication",
    "ErasedKind",
    "IdentityRow",
    "KnownRecording",
    "MentionedRow",
    "PlainAudio",
    "PlainAudioPlace",
    "Reach",
    "RecordedBetween",
    "RecordingQuery",
    "Recordings",
    "audio_of",
    "count_recorded",
    "end_user_of_recording",
    "find_audio",
    "find_identity",
    "find_mentioned",
    "find_recorded",
    "give_identity",
    "largest",
    "lock_recording",
    "name_of_recording",
    "other_bytes",
    "received_before",
    "seen_recording",
    "set_examined",
    "set_transcription",
    "set_unreadable",
    "share_mentioned",
    "titled_recording",
]


class Recordings:
    """The parts of the slice: records, uploads, completion, publication of audio, downloads, deletion, holds,
    reconciler."""

    def __init__(self, ports: Ports) -> None:
        # Hooks of other slices. `before_upload` may refuse an upload to a recording that is not uploaded.
        # `on_audio` is called in the transaction that makes an audio readable.
        # `on_rename` is called in the transaction that changes a recording's name.
        # `on_delete` is called in the transaction that deletes recordings, before the recordings' rows are
        # deleted. `of_end_user` and `last_of_end_user` delete the other rows of a deleted end user, before
        # and after its recordings. `last_upload_ends` tell of upload URLs of other slices. The parts keep
        # these same lists, so they also call the hooks that app.py adds later.
        self.before_upload: Final[list[BeforeUpload]] = []
        self.on_audio: Final[list[OnAudio]] = []
        self.on_rename: Final[list[OnRename]] = []
        self.on_delete: Final[list[OnDelete]] = []
        self.of_end_user: Final[list[EraseSome]] = []
        self.last_of_end_user: Final[list[EraseSome]] = []
        self.last_upload_ends: Final[list[LastUploadEnds]] = []
        erasures = Erasures(ports)
        self.records = Records(ports, self.on_rename)
        self.uploads = Uploads(ports, self.before_upload)
        self.completion = Completion(ports, self.on_audio, self.before_upload)
        self.audio_publication = AudioPublication(ports, self.on_audio)
        self.downloads = Downloads(ports)
        self.deletion = Deletion(
            ports,
            erasures,
            self.on_delete,
            self.of_end_user,
            self.last_of_end_user,
            self.last_upload_ends,
        )
        self.holds = RecordingHolds(ports, erasures, Holds(ports))
        self.reconciler = Reconciler(ports, self.completion, erasures)

    async def aclose(self) -> None:
        """Finish the deletions for which no caller waits."""
        await self.completion.aclose()
