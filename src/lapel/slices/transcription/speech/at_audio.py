"""What a worker notes while one of its child processes is at an audio.

If the worker is killed meanwhile, this audio may be what killed it. The runner sets the note for each step,
and the decoder and the speech models take it around each call of their child. Without a runner nothing is
noted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from typing import TypeAlias

Note: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]

NOTE: ContextVar[Note] = ContextVar("at_audio", default=nullcontext)


def at_audio() -> AbstractAsyncContextManager[object]:
    """Note for the duration of the block that a child is at the audio of this step.

    Entering the block raises Gone when another worker has taken over the step, and Unavailable when the
    database is away.
    """
    return NOTE.get()()
