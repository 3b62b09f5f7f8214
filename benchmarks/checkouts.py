"""Python of another checkout of Lapel: its own packages, its own benchmarks, and its own Lapel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).parent.parent


class Started(TypedDict):
    """What `subprocess` takes."""

    args: list[str]
    cwd: Path
    env: dict[str, str]


def python(checkout: Path, code: str, *arguments: str) -> Started:
    """How to run `code` in the checkout.

    Raises SystemExit when the checkout has no `.venv`.
    """
    program = checkout / ".venv/bin/python"
    if not program.exists():
        raise SystemExit(f"{checkout} has no .venv: run `make -C {checkout} setup-dev` first")
    environment = os.environ | {"PYTHONPATH": str(checkout), "ORT_DISABLE_TELEMETRY": "1"}
    return Started(args=[str(program), "-c", code, *arguments], cwd=checkout, env=environment)
