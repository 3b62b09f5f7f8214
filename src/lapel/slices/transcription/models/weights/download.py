"""The process that downloads a model: `python -m lapel.slices.transcription.models.weights.download`.

This process has the network and sees no audio. The process that reads audio (engine_child.py) has no network.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lapel.foundation.workers.worker_child import Refusal, answer_requests
from lapel.slices.transcription.models.weights import whisper_weights
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Prepare, Ready

if TYPE_CHECKING:
    from collections.abc import Callable


def _handle(request: Prepare, report: Callable[[float], None]) -> Ready:
    try:
        return Ready(model=whisper_weights.bring(request.model or "", report).name)
    except SpeechError as fault:
        raise Refusal(fault.code, fault.fault, fault.remedy) from fault


if __name__ == "__main__":
    answer_requests(Prepare, _handle, sys.argv[1])
