"""faster-whisper as its README shows it, in its own process.

`python -m benchmarks.peers.plain_whisper FOLDER` loads the model in FOLDER, reads a line for each audio file:
the number of windows that are decoded at once (1: as `WhisperModel`; more: as `BatchedInferencePipeline`), a
space, and its path. It answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import faster_whisper


def main() -> None:
    """Answer until standard input ends."""
    whisper: Any = faster_whisper
    threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    model = whisper.WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=threads)
    batched = whisper.BatchedInferencePipeline(model=model)
    for line in sys.stdin:
        size, _, path = line.strip().partition(" ")
        began = time.perf_counter()
        if size == "1":
            segments, info = model.transcribe(path, beam_size=5, word_timestamps=True, vad_filter=True)
        else:
            segments, info = batched.transcribe(path, beam_size=5, word_timestamps=True, batch_size=int(size))
        text = " ".join(segment.text.strip() for segment in segments)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "text": text, "language": info.language}), flush=True)


if __name__ == "__main__":
    main()
