"""docs/audit.md tells of every command and every background job which entries it leaves, or why none.

That the commands leave these entries is in tests/cli/test_audit.py, test_export.py and test_listen.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from cyclopts import App

from lapel import app
from lapel.cli.main import COMMANDS
from tests.support.running import Running

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()


def chapter(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> dict[str, str]:
    """What the tables of a chapter tell of each name in their first column."""
    found: dict[str, str] = {}
    for line in re.findall(r"^\| (`.+) \|$", text, re.MULTILINE):
        names, _, told = line.partition(" | ")
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in found, f"{name} is told twice"
            found[name] = told
    return found


def full_name(command: tuple[object, ...]) -> str:
    parent, name = command[:2]
    assert isinstance(parent, App)
    group = parent.name[0]
    return " ".join(("lapel", *(() if group == "lapel" else (group,)), str(name)))


def test_every_command_is_told() -> None:
    assert set(rows(chapter("Commands"))) == {full_name(each) for each in COMMANDS}


def test_every_entry_of_a_command_is_among_the_actions() -> None:
    text = chapter("Commands").partition("These commands leave none")[0]
    actions = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", chapter("Actions")))
    of_commands = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", text))
    assert of_commands
    assert of_commands <= actions


async def test_all_background_work_is_told(live: Running) -> None:
    services = app.open_services(live.ports)
    services.worker_parts()
    jobs = {each.entrypoint for each in services.jobs()}
    schedules = {each.name for each in services.schedules()}
    assert set(rows(chapter("Background work"))) == jobs | schedules
