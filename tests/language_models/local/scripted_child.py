"""A model's process that does what its prompt says, also what no model should.

Started as `python -m tests.language_models.local.scripted_child` in place of the real one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from lapel.foundation.workers.worker_child import Refusal, answer_requests
from lapel.slices.language_models.local.generation_messages import Finished, Generate, Load, Loaded

interrupted = False


def interrupt(_number: int, _frame: object) -> None:
    global interrupted  # noqa: PLW0603
    interrupted = True


def handle(request: Load | Generate, tell: Callable[[float | str], None]) -> Loaded | Finished:
    global interrupted  # noqa: PLW0603
    if isinstance(request, Load):
        return Loaded(0.0)
    interrupted = False
    words = request.prompt.messages[-1].text.split()
    match words:
        case ["count", number]:
            for word in range(int(number)):
                tell(f"{word} ")
                if interrupted:
                    return Finished(finish_reason="interrupted")
        case ["wait"]:
            tell("waiting")
            while not interrupted:
                time.sleep(0.01)
            return Finished(finish_reason="interrupted")
        case ["deaf"]:
            tell("deaf")
            while True:
                time.sleep(1)
        case ["die"]:
            tell("last words")
            os._exit(9)
        case ["refuse", code]:
            raise Refusal(code, "refused")
        case _:
            tell(f"{os.getpid()}" if words == ["pid"] else f"{request.reuse}")
    return Finished(finish_reason="stop", input=3, output=len(words), cached=int(request.reuse))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, interrupt)
    answer_requests(Load | Generate, handle, sys.argv[1])
