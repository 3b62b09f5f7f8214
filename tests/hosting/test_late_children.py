"""The start of a tree with a process that the server can do without."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import pytest

from lapel.hosting import children, tree
from lapel.hosting.children import HOPELESS, Child, Role
from lapel.hosting.tree import StartFailed, Tree

READY = "import os, time; os.write(int(os.environ['FD']), b'ready'); os.close(int(os.environ['FD']));"
FOR_EVER = "time.sleep(1000)"


def a_tree(monkeypatch: pytest.MonkeyPatch, api: str, embedder: str) -> tuple[Tree, list[Child]]:
    """A tree of two processes that run this code."""
    codes: dict[Role, str] = {"api": api, "embedder": embedder}

    def command(role: Role) -> Sequence[str]:
        return [sys.executable, "-S", "-c", codes[role]]

    monkeypatch.setattr(children, "command", command)

    def child(role: Role, *, essential: bool) -> Child:
        return Child(role, role, lambda own: {"FD": own["LAPEL_READY_FD"]}, essential=essential)

    made = [child("api", essential=True), child("embedder", essential=False)]
    return Tree(None, made), made


def announced(made: Tree) -> int:
    """Runs the tree until it is announced, and stops it; gives how often it was announced."""
    told: list[int] = []

    def announce() -> None:
        told.append(1)
        os.kill(os.getpid(), signal.SIGTERM)

    with made.signals():
        try:
            made.run(announce)
        finally:
            made.stop()
    return len(told)


@pytest.mark.parametrize(
    "embedder",
    [f"import time; {FOR_EVER}", "raise SystemExit(1)", f"raise SystemExit({HOPELESS})", READY + FOR_EVER],
    ids=["late", "dead", "hopeless", "ready"],
)
def test_a_server_starts_whatever_a_process_does_that_it_can_do_without(
    monkeypatch: pytest.MonkeyPatch, embedder: str
) -> None:
    monkeypatch.setattr(tree, "LATE", 0.2)
    made, _ = a_tree(monkeypatch, READY + FOR_EVER, embedder)
    assert announced(made) == 1


def test_only_a_hopeless_process_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, again in ((1, True), (HOPELESS, False)):
        _, (_, child) = a_tree(monkeypatch, "", f"raise SystemExit({status})")
        child.start()
        assert child.process is not None
        child.process.wait()
        assert child.reap() == status
        assert (child.restart_at is not None) is again


def test_a_process_that_is_needed_and_does_not_start_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "FIRST_DELAY", 0.01)
    made, _ = a_tree(monkeypatch, f"raise SystemExit({HOPELESS})", f"import time; {FOR_EVER}")
    with pytest.raises(StartFailed, match="api does not start"):
        announced(made)
