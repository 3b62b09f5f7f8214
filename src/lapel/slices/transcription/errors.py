"""The errors of transcriptions that clients see."""

from __future__ import annotations

from lapel.foundation.core.errors import ApiError


class TranscriptionInProgress(ApiError):
    """The recording is being transcribed; `resource_id` names the transcription."""

    status, code = 409, "transcription_in_progress"


class TranscriptNotReady(ApiError):
    """The transcription is not completed, so there is no transcript."""

    status, code = 409, "transcript_not_ready"
