"""How speech work fails: with a code of the contract, and whether another try could help."""

from __future__ import annotations

from typing import Literal, TypeAlias

# The contract's job errors.
Code: TypeAlias = Literal[
    "audio_too_short", "audio_corrupt", "unsupported_format", "processing_error", "provider_error"
]


class SpeechError(Exception):
    """This work has failed for good: people are shown `code` and the message, which names the remedy."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


class Gone(Exception):
    """There is nothing to do any more: the recording was deleted, or somebody else has the step."""


class TurnOver(Exception):
    """The step is not done and others may want its place: it goes on when its turn comes again.

    `kept`: what was done is kept for that; else the step begins anew, later.
    """

    def __init__(self, *, kept: bool) -> None:
        super().__init__()
        self.kept = kept


class TryAgain(Exception):
    """This work failed now and may succeed later: in `after` seconds at the earliest (None: our backoff).

    `code` and the message are shown when all tries are used up.
    """

    def __init__(self, code: Code, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.after = after


class DiskFull(TryAgain):
    """A disk of this worker has no room for the work. The audio is not at fault, so this uses up no try."""

    def __init__(self, message: str) -> None:
        super().__init__("processing_error", message)
