"""What commands print for people: whole values everywhere, colours on terminals alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Group
from rich.text import Text

from lapel.cli.shared.options import counted, emit, named, table

LONG = "https://store.example.com/" + "a" * 300


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


def test_a_pipe_gets_whole_values_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("key_1", LONG, "[bold]Jane[/bold] :smile:"), ("key_22", "", "\x1b[2J")]
    emit({}, False, lambda: Group(table(("ID", "WHERE", "NAME"), rows), "", named([("Store", LONG)])))
    width = len(LONG) + 2
    assert capsys.readouterr().out.splitlines() == [
        f"ID      {'WHERE':<{width}}NAME",
        f"key_1   {LONG}  [bold]Jane[/bold] :smile:",
        f"key_22  {'':<{width}}\\x1b[2J",
        "",
        f"Store        {LONG}",
    ]


def test_a_terminal_gets_colours_and_whole_values(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    emit({}, False, lambda: Group(named([("Store", LONG)]), Text.assemble(("✓", "green"), f" {LONG}")))
    shown = terminal.getvalue()
    assert shown.count(LONG) == 2
    assert "\x1b[1mStore       \x1b[0m " in shown
    assert "\x1b[32m✓\x1b[0m " in shown


def test_a_terminal_without_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    emit({}, False, lambda: Group(named([("Store", LONG)]), Text("✓", "green")))
    assert terminal.getvalue() == f"Store        {LONG}\n✓\n"


def test_a_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, False, lambda: "a\tb\a\r  \nc \n")
    assert capsys.readouterr().out == "a\tb\a\r  \nc \n"


def test_a_number_of_things_has_a_plural() -> None:
    assert [counted(number, "erasure") for number in (0, 1, 2000)] == [
        "0 erasures", "1 erasure", "2,000 erasures"
    ]  # fmt: skip
