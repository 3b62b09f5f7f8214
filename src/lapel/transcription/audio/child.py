"""`python -m lapel.transcription.audio.child`: decodes files that strangers sent, one at a time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import sys
from typing import TYPE_CHECKING

import av

from lapel.foundation.subworker import answer_requests
from lapel.transcription.audio.decoding import decode
from lapel.transcription.audio.messages import Decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.transcription.audio.facts import AudioFacts


# Those who ask the server for something come before files that are decoded for later.
_NICENESS = 5


def _handle(request: Decode, report: Callable[[float], None]) -> AudioFacts:
    report(0)  # begun: from now on the time is the file's
    return decode(request)


def _import_all() -> None:
    """PyAV imports what a stream needs when it meets one; by then this process opens no file any more."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in {"av.__main__", "av.datasets"}:
            importlib.import_module(module.name)


if __name__ == "__main__":
    # What a crash would write to the disk is somebody's conversation.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_all()
    os.nice(_NICENESS)
    answer_requests(Decode, _handle, sys.argv[1], imported=True)
