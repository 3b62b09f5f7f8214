"""Environment variables: between Lapel's own processes (settings, and the parameters of a child), and those
that Lapel does not know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from lapel.setting_fields import PREFIX, variable
from lapel.settings import Settings, docs

# LAPEL_* variables that are not settings: a parent process passes them to the child that it starts.
PROTOCOL_VARIABLES = frozenset(
    {"LAPEL_READY_FD", "LAPEL_LISTEN_FD", "LAPEL_PARENT_PID", "LAPEL_METRICS_NAME", "LAPEL_CRASH"}
)

# How alike two names must be, from 0 to 1. The common beginning counts.
_ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class FromParent:
    """Parameters that a child process gets from the process that started it."""

    ready_fd: int | None  # where to write `ready`
    listen_fd: int | None  # a socket that is already listening
    pid: int | None  # process id of the parent; the child ends when the parent ends
    metrics_name: str | None  # name of the process's metrics; no two live processes share a name
    crash: str | None  # a crash point that a test has armed


def from_parent() -> FromParent:
    """Reads the parameters from this process's environment."""
    told = {name.removeprefix(PREFIX): os.environ.get(name) for name in PROTOCOL_VARIABLES}
    ready, listener, pid = (int(told[name] or 0) or None for name in ("READY_FD", "LISTEN_FD", "PARENT_PID"))
    return FromParent(ready, listener, pid, told["METRICS_NAME"], told["CRASH"])


def child_environment(settings: Settings, own: Mapping[str, str]) -> dict[str, str]:
    """Environment of a child: our variables without LAPEL_* (but with LAPEL_CRASH), `settings` and `own`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    armed = {name: value for name, value in os.environ.items() if name == f"{PREFIX}CRASH"}
    return {**kept, **armed, **settings.to_env(), **own}


def environment_without_ours(**own: str) -> dict[str, str]:
    """Our variables without LAPEL_*, plus `own`: for a child that needs no setting and must get no secret."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | own


def unknown_variables(env: Mapping[str, str]) -> dict[str, str | None]:
    """The LAPEL_* variables that Lapel does not know, in order; each with the known name that is like it."""
    of_clients = ["LAPEL_URL", "LAPEL_KEY"]
    offered = [variable(name) for name, doc in docs().items() if not doc.internal] + of_clients
    known = {variable(name) for name in docs()} | PROTOCOL_VARIABLES | {*of_clients}
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    return {name: next(iter(get_close_matches(name, offered, 1, _ALIKE)), None) for name in unknown}


def unknown_variables_here() -> dict[str, str | None]:
    """`unknown_variables` of this process."""
    return unknown_variables(os.environ)
