"""`python -m lapel.slices.transcription.audio.decoder_child`: decodes untrusted files, one at a time."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import sys
from typing import TYPE_CHECKING

import av

from lapel.foundation.workers.worker_child import answer_requests
from lapel.slices.transcription.audio.decoder_messages import Decode
from lapel.slices.transcription.audio.pcm_decoding import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.slices.transcription.audio.audio_facts import AudioFacts


# Requests to the server have priority over decoding in the background.
_NICENESS = 5


def _handle(request: Decode, report: Callable[[float], None]) -> AudioFacts:
    report(0)  # begun: the file's time limit counts from here
    return decode(request)


def _import_all() -> None:
    """Import all of PyAV now. PyAV imports modules on demand, but later this process may open no file."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in {"av.__main__", "av.datasets"}:
            importlib.import_module(module.name)


if __name__ == "__main__":
    # A core dump would write a recorded conversation to the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_all()
    os.nice(_NICENESS)
    answer_requests(Decode, _handle, sys.argv[1], imported=True)
