"""Another version of Lapel beside this one: each runs its own benchmark, in turn.

    git worktree add ../earlier v0.1.0 && make -C ../earlier setup-dev
    make bench-versions ARGS="../earlier complete start"

The other checkout has its own `.venv` and its own `benchmarks`. `LAPEL_BENCH_ROUNDS` says how many times each
benchmark runs in each checkout (5); the table shows the medians and their ratios.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks import checkouts
from benchmarks.report import Row, show

ROUNDS = int(os.environ.get("LAPEL_BENCH_ROUNDS", "5"))
# Run in each checkout by its own interpreter. Any version of the benchmarks has `measure` and these fields.
_MEASURE = """
import importlib, json, sys
for row in importlib.import_module("benchmarks." + sys.argv[1]).measure():
    print("row " + json.dumps([row.name, row.unit, row.value]))
"""


def compare(other: Path, name: str) -> list[Row]:
    """This version's figures divided by those of the checkout in `other`, for each row that both have.

    Raises CalledProcessError when a benchmark fails.
    """
    here: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    there: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(1, ROUNDS + 1):
        print(f"{name}, round {number} of {ROUNDS} ...", flush=True)
        turns = ((other, there), (checkouts.HERE, here))
        for folder, figures in turns if number % 2 else reversed(turns):
            for row, unit, value in _measured(folder, name):
                figures[row, unit].append(value)
    return [
        _ratio(row, unit, here[row, unit], there[row, unit]) for row, unit in here if (row, unit) in there
    ]


def _measured(folder: Path, name: str) -> list[tuple[str, str, float]]:
    """Run a benchmark of the checkout in `folder` once; return (row, unit, value)."""
    started = checkouts.python(folder, _MEASURE, name)
    done = subprocess.run(**started, check=True, stdout=subprocess.PIPE, text=True)
    return [tuple(json.loads(line[4:])) for line in done.stdout.splitlines() if line.startswith("row ")]


def _ratio(row: str, unit: str, here: list[float], there: list[float]) -> Row:
    now, before = statistics.median(here), statistics.median(there)
    each = ", ".join(f"{ours / theirs:.2f}" for ours, theirs in zip(here, there, strict=True) if theirs)
    detail = f"{now:.3g} and {before:.3g} {unit}, medians of {len(here)}; rounds: {each}"
    return Row(row, now / before if before else float("nan"), detail=detail)


def main() -> int:
    """Compare the benchmarks that are named after the other checkout's folder."""
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    other = Path(sys.argv[1]).resolve()
    show([row for name in sys.argv[2:] for row in compare(other, name)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
