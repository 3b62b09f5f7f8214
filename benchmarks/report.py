"""Measured figures beside their goals, and the table of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """`value` in `unit` (`x` is a ratio). `at_least` or `at_most` is the goal; with neither there is none."""

    name: str
    value: float
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.unit}"
        return "" if self.at_most is None else f"<= {self.at_most:g} {self.unit}"


def show(rows: Sequence[Row]) -> None:
    """Print the table and the machine, because absolute figures mean little on another one."""
    table = Table(title=f"Lapel on {machine()}", title_justify="left")
    for heading in ("what", "measured", "goal", "", "how"):
        table.add_column(heading, justify="right" if heading in ("measured", "goal") else "left")
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        table.add_row(row.name, f"{row.value:.3g} {row.unit}", row.goal, verdict, row.detail)
    # Wide enough also when the output is a file: a cut table is useless.
    Console(width=max(150, Console().width)).print(table)


def machine() -> str:
    """The machine on which the figures were measured."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    )
