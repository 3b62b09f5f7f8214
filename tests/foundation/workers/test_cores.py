"""How many threads the child takes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel.foundation.workers.cores import cores


@pytest.mark.parametrize(
    ("told", "expected"),
    [("100000 100000", 1), ("20000 100000", 1), ("6400000 100000", None), ("max 100000", None), ("x", None)],
)
def test_a_containers_share_of_the_machine_is_heeded(tmp_path: Path, told: str, expected: int | None) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(told + "\n")
    everything = cores(tmp_path / "none")
    assert everything >= 1
    assert cores(quota) == (everything if expected is None else expected)
