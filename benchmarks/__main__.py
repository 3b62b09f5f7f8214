"""Runs benchmarks and shows all figures in one table.

`make bench`, or `make bench ARGS="growth start"` for some of them. Those of ON_REQUEST run only if they are
named. Some parts of a benchmark that has parts: `make bench ARGS="neighbours:lists,questions"`.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback

from benchmarks import load
from benchmarks.report import Row, show

# Modules here; each has `measure() -> list[Row]`.
BENCHMARKS = (
    "presign",
    "download_url",
    "list_recordings",
    "store",
    "growth",
    "start",
    "complete",
    "at_once",
    "heartbeat",
    "speech",
    "speakers",
    "embeddings",
    "search",
    "ask",
    "job_start",
    "neighbours",
    "revocation",
    "deleted_audio",
    "delete_many",
    "webhooks",
    "publication",
)
# Run only if they are named, because they download recordings.
ON_REQUEST = ("human_speech",)


def main() -> int:
    """Run the named benchmarks, or all of BENCHMARKS.

    Gives 1 when a goal was missed or a benchmark failed, else 0.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the peers' onnxruntime sends no telemetry either
    names = sys.argv[1:] or BENCHMARKS
    known = (*BENCHMARKS, *ON_REQUEST)
    if {"-h", "--help"} & set(names):
        print(f"{__doc__}\nThere are {', '.join(known)}.")
        return 0
    unknown = {name.partition(":")[0] for name in names} - set(known)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    print(f"The load generator is {load.generator()}. This takes some minutes and wants the machine alone.")
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        print(f"measuring {name} ...", flush=True)
        try:
            module, _, parts = name.partition(":")
            measure = importlib.import_module(f"benchmarks.{module}").measure
            rows += measure(parts.split(",")) if parts else measure()
        except Exception:  # noqa: BLE001 - the figures of the others are shown all the same
            traceback.print_exc()
            failed.append(name)
    show(rows)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
