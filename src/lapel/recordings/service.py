"""The parts of the recordings slice, put together for routes, jobs and other slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.erasure.service import Erasures
from lapel.recordings.audio import Audio, audio_of, find_audio
from lapel.recordings.audio_queries import set_duration, set_transcription
from lapel.recordings.completion import Completion
from lapel.recordings.deletion import Deletion
from lapel.recordings.downloads import Downloads
from lapel.recordings.reconciler import Reconciler
from lapel.recordings.records import Records
from lapel.recordings.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.kit import Kit
    from lapel.recordings.deletion import EraseSome, OnDelete
    from lapel.recordings.settling import OnAudio

__all__ = ["Audio", "Recordings", "audio_of", "find_audio", "set_duration", "set_transcription"]


class Recordings:
    """The parts of the slice: `records`, `uploads`, `completion`, `downloads`, `deletion`, `reconciler`."""

    def __init__(
        self,
        kit: Kit,
        *,
        on_audio: Sequence[OnAudio] = (),
        on_delete: Sequence[OnDelete] = (),
        of_end_user: Sequence[EraseSome] = (),
    ) -> None:
        """`on_audio`: called in the transaction that makes an audio readable; `on_delete`: in the one that
        deletes recordings, before their rows go; `of_end_user`: what else the job removes of a deleted end
        user."""
        erasures = Erasures(kit)
        self.records = Records(kit)
        self.uploads = Uploads(kit)
        self.completion = Completion(kit, on_audio)
        self.downloads = Downloads(kit)
        self.deletion = Deletion(kit, erasures, on_delete, of_end_user)
        self.reconciler = Reconciler(kit, self.completion, erasures)
