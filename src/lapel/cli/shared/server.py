"""The server that a command calls: the one of the data folder with a key of its own, or one that is named."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import SplitResult, urlsplit

from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.http_client import NoAnswer, request
from lapel.cli.shared.installation import revoking, settings_of, with_ports
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolder
from lapel.slices.projects.operator import OperatorKeys

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

Url: TypeAlias = Annotated[
    str | None,
    Parameter(env_var="LAPEL_URL", help="Base URL of the server. Default: the one of the data folder."),
]
Key: TypeAlias = Annotated[
    str | None,
    Parameter(
        env_var="LAPEL_KEY",
        help="A key for --url. LAPEL_KEY is safer, because other users of the machine can see arguments.",
    ),
]
Project: TypeAlias = Annotated[
    str | None, Parameter(help="Id of the project, if the data folder's server has several.")
]


_ANSWER = 30.0  # seconds


class ServerAway(CommandError):
    """No server runs on the data folder now."""


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """How to call the API. `base_url` is asked again after an outage, because a local server may move to
    another port; it raises ServerAway while the server is stopped. `server`: the URL that was given; empty
    for the server of the data folder."""

    base_url: Callable[[], str]
    key: str
    server: str


@contextlib.contextmanager
def server_access(
    url: str | None,
    key: str | None,
    project: str | None,
    data_dir: Path | None,
    *,
    scopes: Sequence[str],
    name: str,
    lives: timedelta,
) -> Generator[ServerAccess]:
    """Access to the named server; without `url` and `key` to the server of the data folder.

    For the latter, a key of the test world is made, with only these scopes, and revoked after the block.
    `name`: the key's. `lives`: how long the key works if the command is killed.

    Raises CommandError when only one of `url` and `key` is given, when one is malformed, and when no server
    runs on the data folder; and what `with_ports` raises.
    """
    if url or key:  # an empty variable counts as unset
        if not url or not key:
            raise CommandError("--url and --key (or LAPEL_URL and LAPEL_KEY) need each other: give both.")
        _check(url, key)
        base_url = url.rstrip("/")
        yield ServerAccess(lambda: base_url, key, base_url)
        return
    settings = settings_of(data_dir)
    _running(settings)
    with _own_key(settings, project, scopes, name, lives) as made:
        yield ServerAccess(lambda: _running(settings), made, "")


def _check(url: str, key: str) -> None:
    if not is_base(url):
        raise CommandError("--url takes a base URL, such as https://api.example.com, without a user.")
    if not (key.isascii() and key.isprintable()):
        raise CommandError("--key holds characters that no key has. Copy the key again.")


def reach(base_url: str) -> None:
    """Ask the server once, before calls that are repeated for a minute if nothing answers.

    Raises CommandError unless the server answers as Lapel does.
    """
    try:
        status = request("GET", f"{base_url}/health", timeout=_ANSWER).status
    except NoAnswer as fault:
        raise unanswered(fault) from fault
    if status != 200:
        raise CommandError(
            f"{base_url}/health answers {status}: this is no Lapel server, or it is not ready. Correct "
            "--url, or try again later."
        )


def unanswered(fault: NoAnswer) -> CommandError:
    """The error of a command whose server does not answer."""
    return CommandError(
        f"the server does not answer: {fault}. Start the server, or name another one with --url."
    )


def is_base(url: str) -> bool:
    """Whether the text is an http or https URL without a user, a query and a fragment."""
    parts = http_url(url)
    return parts is not None and not (parts.query or parts.fragment)


def http_url(url: str) -> SplitResult | None:
    """The parts of an http or https URL without a user; None for any other text."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # the port or the address is invalid
        return None
    is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return parts if is_server and "@" not in parts.netloc else None


def _running(settings: Settings) -> str:
    """The base URL of the server that runs on the data folder."""
    if not prepare.needs_folder(settings):
        raise CommandError("name the server with --url, and a key with LAPEL_KEY.")
    folder = DataFolder(settings.data_dir)
    running = folder.running() if folder.path.is_dir() and folder.is_taken() else None
    if running is None:
        raise ServerAway(
            f"no server runs on {settings.data_dir}; start one with `lapel serve`, or name one with --url."
        )
    return running.base_url


@contextlib.contextmanager
def _own_key(
    settings: Settings, project: str | None, scopes: Sequence[str], name: str, lives: timedelta
) -> Generator[str]:
    """A key of the project's test world. The key is revoked after the block."""

    async def make(ports: Ports) -> tuple[str, str]:
        made = await OperatorKeys(ports).create(
            mode="test",
            project_id=project,
            scopes=list(scopes),
            expires_at=ports.clock.now() + lives,
            name=name,
        )
        return made.id, made.key

    key_id, key = with_ports(settings, make)
    try:
        yield key
    finally:

        async def end(ports: Ports) -> None:
            await OperatorKeys(ports).revoke(key_id)

        revoking(settings, end)
