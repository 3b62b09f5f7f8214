"""The check of `lapel doctor` for the sandbox: which of its layers hold on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import msgspec

from lapel.cli.doctor.checks import Finding
from lapel.foundation.workers.sandbox import Layer
from lapel.process_environment import environment_without_ours

_REMEDY = 'docs/operations.md, "Processes that parse untrusted bytes", says what each layer needs.'


def sandbox() -> Iterator[Finding]:
    """Starts one process confined like the decoder, and one like the speech models; reports on each."""
    yield _told("decoder", ["imported"])
    yield _told("models", [])


def _told(part: str, arguments: list[str]) -> Finding:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lapel.foundation.workers.sandbox", *arguments],
        env=environment_without_ours(), capture_output=True, check=False,
    )  # fmt: skip
    try:
        layers = msgspec.json.decode(done.stdout, type=list[Layer])
    except msgspec.DecodeError:
        return Finding(part, "broken", f"it ended with status {done.returncode}", done.stderr.decode()[-300:])
    held = ", ".join(each.name for each in layers if each.holds) or "nothing"
    missing = "; ".join(f"{each.name} ({each.why})" for each in layers if not each.holds)
    if not missing:
        return Finding(part, "ok", f"confined: {held}")
    return Finding(part, "warning", f"confined: {held}; missing: {missing}", _REMEDY)
