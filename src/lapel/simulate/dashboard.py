"""The live view of a running simulation on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lapel.simulate.fleet import Fleet
from lapel.simulate.report import latency_of

_REFRESH = 0.5  # seconds
_WINDOW = 10  # refreshes over which a rate is taken
_RATED = ("heartbeats", "recordings", "uploads promised", "commands executed", "updates applied")


async def watch(fleet: Fleet, console: Console) -> None:
    """Draws the state of `fleet` twice a second until it is cancelled."""
    rates = _Rates(fleet)
    with Live(_drawn(fleet, rates), console=console, auto_refresh=False, transient=True) as live:
        while True:
            await asyncio.sleep(_REFRESH)
            rates.sample()
            live.update(_drawn(fleet, rates), refresh=True)


class _Rates:
    """Events per second, over the last _WINDOW refreshes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._samples: deque[tuple[float, dict[str, int]]] = deque(maxlen=_WINDOW)
        self.sample()

    def sample(self) -> None:
        """Takes a sample of the counts."""
        counts = self._fleet.meter.counts
        self._samples.append((time.monotonic(), {name: counts[name] for name in _RATED}))

    def of(self, name: str) -> float:
        """Events of this name per second."""
        (then, before), (now, latest) = self._samples[0], self._samples[-1]
        return (latest[name] - before[name]) / (now - then) if now > then else 0.0


def _drawn(fleet: Fleet, rates: _Rates) -> RenderableType:
    meter = fleet.meter
    plan = fleet.plan
    head = Text.assemble(
        (f"{plan.devices:,} devices", "bold"),
        f", {plan.devices - meter.counts['offline']:,} of them online · {fleet.phase}",
        f" · {fleet.elapsed:.0f} of {plan.minutes * 60:.0f} s"
        if fleet.elapsed
        else f" · {fleet.done:,} done",
    )
    left = Table("", "count", "a second", box=None, pad_edge=False)
    for name in _RATED:
        left.add_row(name, f"{meter.counts[name]:,}", f"{rates.of(name):,.1f}")
    left.add_row("uploads kept", f"{fleet.kept:,}" if fleet.kept is not None else "at the end", "")
    right = Table("call", "count", "p50 ms", "p95 ms", "p99 ms", box=None, pad_edge=False)
    for column in right.columns[1:]:
        column.justify = "right"
    for name, histogram in (("all", meter.total), *meter.calls.items()):
        seen = latency_of(histogram)
        right.add_row(name, f"{seen.count:,}", f"{seen.p50}", f"{seen.p95}", f"{seen.p99}")
    both = Table.grid(padding=(0, 4))
    both.add_row(left, right)
    wrong = Table.grid(padding=(0, 2))
    for label, counts, style in (("repeated", meter.repeats, "yellow"), ("errors", meter.errors, "red")):
        shown = ", ".join(f"{number:,} × {kind}" for kind, number in counts.most_common(6)) or "none"
        wrong.add_row(label, Text(shown, style=style if counts else "green"))
    return Panel(
        Group(head, Text(), both, Text(), wrong), title="lapel simulate", subtitle="Ctrl-C ends early"
    )
