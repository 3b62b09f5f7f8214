"""Mistakes that the type checker must find: without these tests a signature could become too wide unnoticed.

Each file of `cases/` is checked. A mistake carries the rule that finds it: `# expect: reportArgumentType`.
Every other line must pass.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).parent / "cases"
CHECKER = Path(sys.executable).parent / "basedpyright"
EXPECT = re.compile(r"# expect: (\w+)$")

Complaint = tuple[str, int, str]


def expected() -> set[Complaint]:
    """File, line and rule of each complaint that must be made."""
    found: set[Complaint] = set()
    for path in CASES.glob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            said = EXPECT.search(line)
            if said is not None:
                found.add((path.name, number, said[1]))
    return found


def test_the_type_checker_finds_every_mistake_and_nothing_else() -> None:
    command = [CHECKER, "--outputjson", "--project", CASES]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == len(list(CASES.glob("*.py")))
    complaints = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["rule"])
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }
    assert complaints == expected()
