"""`python -m lapel.transcription.audio.child`: decodes files that strangers sent, one at a time."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from lapel.foundation.subworker import answer_requests
from lapel.transcription.audio.decoding import decode
from lapel.transcription.audio.messages import Decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.transcription.audio.facts import AudioFacts


def _handle(request: Decode, _report: Callable[[float], None]) -> AudioFacts:
    return decode(request)


if __name__ == "__main__":
    # What a crash would write to the disk is somebody's conversation.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer_requests(Decode, _handle, sys.argv[1:3])
