"""The exceptions of speech work. Their types say whether another try can help."""

from __future__ import annotations

from typing import Literal, TypeAlias

# The contract's job errors.
Code: TypeAlias = Literal[
    "audio_too_short", "audio_corrupt", "unsupported_format", "processing_error", "provider_error"
]

# Faults of the audio: another try would find the same fault.
OF_AUDIO: frozenset[Code] = frozenset({"audio_too_short", "audio_corrupt", "unsupported_format"})

TELL = "Tell the operator of this server: the log names the remedy."


class SpeechError(Exception):
    """The work has failed for good.

    Clients see `code` and `told`. The operator sees `message`, which ends with the `remedy`, such as a
    command or a setting; `fault` is what is before the remedy.
    """

    def __init__(self, code: Code, fault: str, *, remedy: str = "") -> None:
        self.code: Code = code
        self.fault = fault
        self.remedy = remedy
        self.message = f"{fault} {remedy}".rstrip()
        super().__init__(self.message)

    @property
    def told(self) -> str:
        """What a client reads, who cannot do what only the operator can."""
        return f"{self.fault} {TELL}" if self.remedy else self.fault


class Gone(Exception):
    """Nothing is left to do: the recording was deleted, or another worker has the step."""


class TurnOver(Exception):
    """The step is not done, but its turn has ended, so that other steps get its place.

    `kept`: whether the worker keeps the state of the step. If so, the next turn continues where this turn
    ended; if not, the next turn begins the step anew.
    """

    def __init__(self, *, kept: bool) -> None:
        super().__init__()
        self.kept = kept


class TryAgain(Exception):
    """The work has failed, but another try may succeed.

    `after`: the shortest wait in seconds; None: only the pause of work/retries.py counts. Users see `code`
    and the message when all tries are used up.
    """

    def __init__(self, code: Code, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.after = after


class DiskFull(TryAgain):
    """A disk of this worker is too full for the work. This is no fault of the audio, so it uses up no try."""

    def __init__(self, message: str) -> None:
        super().__init__("processing_error", message)
