"""`python -m lapel.transcription.engine.download`: the process that downloads a model, and does nothing else.

It has the network and sees no audio; the process that reads audio (child.py) has no network.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lapel.foundation.subworker import Refusal, answer_requests
from lapel.transcription.engine import weights
from lapel.transcription.engine.messages import Prepare, Ready
from lapel.transcription.failures import SpeechError

if TYPE_CHECKING:
    from collections.abc import Callable


def _handle(request: Prepare, report: Callable[[float], None]) -> Ready:
    try:
        return Ready(model=weights.bring(request.model or "", report).name)
    except SpeechError as fault:
        raise Refusal(fault.code, fault.message) from fault


if __name__ == "__main__":
    answer_requests(Prepare, _handle, sys.argv[1])
