"""faster-whisper as its README shows it, in its own process.

`python -m benchmarks.peers.plain_whisper FOLDER` loads the model in FOLDER, reads one path of an audio file
per line, and answers each with a line of JSON.
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
    for line in sys.stdin:
        began = time.perf_counter()
        segments, _ = model.transcribe(line.strip(), beam_size=5, word_timestamps=True, vad_filter=True)
        text = " ".join(segment.text.strip() for segment in segments)
        print(json.dumps({"seconds": time.perf_counter() - began, "text": text}), flush=True)


if __name__ == "__main__":
    main()
