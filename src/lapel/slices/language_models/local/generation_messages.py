"""Messages between a caller, the process that keeps the line, and the process of the model.

Between caller and line: frames on a Unix socket. The caller sends one Asked and gets TextPieces, then one
Finished, Failed or Away. It closes the connection to cancel.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from lapel.slices.language_models.language_model import Prompt, Purpose
from lapel.slices.language_models.model_failures import FailureCode, ModelAwayHow

# Bytes of a request. The longest window has less text, even in scripts with three bytes per character.
LARGEST = 8 * 1024 * 1024


class Load(msgspec.Struct, frozen=True, tag=True):
    """To the model's process: load the model unless it is loaded."""


class Generate(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """To the model's process: answer a prompt. The pieces of text are its progress.

    `reuse`: work on the common beginning of this prompt and the one before need not be done again.
    """

    prompt: Prompt
    reuse: bool


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded. `seconds`: how long it took."""

    seconds: float


class Finished(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The end of an answer, and its tokens. `interrupted`: the caller has left."""

    finish_reason: Literal["stop", "length", "interrupted"]
    input: int | None = None
    output: int | None = None
    cached: int | None = None


class Asked(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A caller's request. `world`: the world for whose sake it waits in line."""

    world: int
    purpose: Purpose
    prompt: Prompt


class TextPiece(msgspec.Struct, frozen=True, tag=True):
    """Some text of the answer."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A ModelFailed."""

    code: FailureCode
    message: str


class Away(msgspec.Struct, frozen=True, tag=True):
    """A ModelAway."""

    message: str
    how: ModelAwayHow
    after: float | None


Told: TypeAlias = TextPiece | Finished | Failed | Away
