"""The exceptions of speech work. Their types say whether another try can help."""

from __future__ import annotations

from typing import Literal, TypeAlias

# The contract's job errors.
Code: TypeAlias = Literal[
    "audio_too_short", "audio_corrupt", "unsupported_format", "processing_error", "provider_error"
]


class SpeechError(Exception):
    """The work has failed for good. People are shown `code` and the message, which names the remedy."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


class Gone(Exception):
    """Nothing is left to do: the recording was deleted, or another worker has the step."""


class TurnOver(Exception):
    """The step is not done, but its turn has ended, so that others get its place.

    `kept`: whether the worker keeps the state, so that the next turn continues from here. If not, the step
    begins again from the start, later.
    """

    def __init__(self, *, kept: bool) -> None:
        super().__init__()
        self.kept = kept


class TryAgain(Exception):
    """The work failed and may succeed later: after `after` seconds at the earliest (None: our own backoff).

    `code` and the message are shown when all tries are used up.
    """

    def __init__(self, code: Code, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.after = after


class DiskFull(TryAgain):
    """A disk of this worker is too full for the work. The audio is not at fault, so this uses up no try."""

    def __init__(self, message: str) -> None:
        super().__init__("processing_error", message)
