"""One answer while it is made, in the process that makes it: what is said so far, and who waits for more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.wire import AskAnswer, Part


class AnswerProgress:
    """The state of an answer. The task that makes the answer writes it, and any number of readers read it."""

    def __init__(self, world_id: int, session_id: str, answer_id: str) -> None:
        self.world_id = world_id
        self.session_id = session_id
        self.answer_id = answer_id
        self.parts: Sequence[Part] = ()
        self.has_begun = False
        # What the parts are made from, as soon as there may be parts; see Composed.
        self.recording_ids: Sequence[str] = ()
        self.places: Sequence[int] = ()
        self.stop_wanted = asyncio.Event()
        # The answer, or its error.
        self.outcome: asyncio.Future[AskAnswer] = asyncio.get_running_loop().create_future()
        self._changed: asyncio.Event = asyncio.Event()
        self.outcome.add_done_callback(self._ended)

    def begin(self) -> None:
        """It is the answer's turn in its session."""
        self.has_begun = True
        self._tell()

    def show(self, parts: Sequence[Part]) -> None:
        """Let readers see these parts, which continue the parts before."""
        self.parts = list(parts)
        self._tell()

    @property
    def changed(self) -> asyncio.Event:
        """Is set at the next change."""
        return self._changed

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _ended(self, outcome: asyncio.Future[AskAnswer]) -> None:
        if not outcome.cancelled():
            outcome.exception()  # nobody need ask for it
        self._tell()
