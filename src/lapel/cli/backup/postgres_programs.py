"""pg_dump and pg_restore: which one runs, on which database, and what a failure says.

Sources: PostgreSQL's documentation of both programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from lapel.cli.backup.dump_file import portable
from lapel.cli.shared.faults import CommandError, direct_url
from lapel.embedded.postgres.install import MAJOR, PostgresError
from lapel.embedded.postgres.supervisor import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.settings import Settings

# Where packages put the programs of one version: Debian's, Red Hat's of the PostgreSQL project, Homebrew's.
_FOLDERS = (
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
_PATH = {"PATH": "/usr/bin:/bin"}
# Of a program's output: what went wrong, and what PostgreSQL says about it. The rest is the statement.
_REASON = re.compile(r"\b(?:error|fatal|detail|hint):", re.IGNORECASE)
_SHOWN = 600  # characters
_READ = 1 << 16  # bytes, of the end of the output: what ends a program comes last


def dump_database(settings: Settings, dump: Path, snapshot: str) -> None:
    """Writes what the snapshot sees to the file `dump`.

    pg_dump is that of the server's version, if it is installed: a newer one may write what the server's own
    version does not know. It connects directly to the database, because it needs a session, which a pooler
    of transactions does not keep. Raises CommandError when the program is not installed or fails.
    """
    arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={dump}"]
    with direct_url(settings) as url:
        _run(next(find_programs("pg_dump", _major_of(url))), arguments, url)


def restore_database(settings: Settings, dump: Path, *more: str) -> None:
    """Restores the file `dump` into the database of the settings, in one transaction. `more`: options.

    pg_restore is that of the server's version, if it is installed and can read the dump: a newer one may set
    what an older server does not know. Raises CommandError as `dump_database` does.
    """
    arguments = [
        "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-comments", *more,
    ]  # fmt: skip
    with direct_url(settings) as url:
        _run(_reader_of(dump, _major_of(url)), arguments, url, dump)


def read_dump(settings: Settings, dump: Path) -> None:
    """Reads the whole dump, so that damaged data are found.

    pg_restore is chosen as for a restore into the database of the settings. Raises CommandError when the dump
    cannot be read.
    """
    with direct_url(settings) as url:
        major = _major_of(url)
    _run(_reader_of(dump, major), ["--file=/dev/null", str(dump)], None)


def _major_of(url: str) -> int:
    """Major version of the server."""

    async def ask() -> int:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return connection.get_server_version().major
        finally:
            await connection.close()

    return asyncio.run(ask())


def find_programs(name: str, major: int) -> Iterator[str]:
    """Paths of the program: that of the server's version first. Raises CommandError if there is none."""
    found = shutil.which(name)
    if major != MAJOR:
        own = (Path(folder.format(major)) / name for folder in _FOLDERS)
        yield from (str(path) for path in own if path.is_file())
        if found is not None and f" {major}." in _output_of(found, "--version"):
            yield found
    try:
        yield str(EmbeddedPostgres(Path("/nonexistent")).program(name))
    except PostgresError:
        if found is None:
            raise CommandError(f"{name} is not installed; install PostgreSQL's client programs.") from None
        yield found


def _reader_of(dump: Path, major: int) -> str:
    """The first pg_restore that can read the dump, else the last one, which says why it cannot."""
    program = ""
    for program in find_programs("pg_restore", major):
        if _output_of(program, "--list", str(dump)):
            break
    return program


def _output_of(program: str, *arguments: str) -> str:
    """The output of a program; empty if it fails."""
    done = subprocess.run([program, *arguments], env=_PATH, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def _run(program: str, arguments: list[str], url: str | None, dump: Path | None = None) -> None:
    """Runs a program. `url`: the database. `dump`: the file that it reads from its standard input."""
    environment = dict(_PATH)
    if url is not None:
        url, password = _without_password(url)
        environment |= {"PGPASSWORD": password} if password else {}
        arguments = [*arguments, "--dbname", url]
    with tempfile.TemporaryFile() as said:
        # With a pipe, a program that says much would wait for its reader, and read no more of the dump.
        process = subprocess.Popen(
            [program, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=said,
            stdin=subprocess.DEVNULL if dump is None else subprocess.PIPE,
        )  # fmt: skip
        # If the pipe breaks, the program has failed, and says why.
        with process, contextlib.suppress(BrokenPipeError):
            if process.stdin is not None and dump is not None:
                with process.stdin:
                    process.stdin.writelines(portable(dump))
        said.seek(max(0, said.seek(0, os.SEEK_END) - _READ))
        errors = said.read().decode(errors="replace")
    if process.returncode != 0:
        raise CommandError(f"{Path(program).name} failed: {_reason_of(errors)}")


def _reason_of(errors: str) -> str:
    """What a program says of its failure, without the statement that failed."""
    lines = errors.strip().splitlines()
    said = [line.strip() for line in lines if _REASON.search(line)] or lines[-3:]
    return " ".join(" ".join(said).split())[:_SHOWN]


def _without_password(url: str) -> tuple[str, str | None]:
    """The URL without its password, and the password.

    The password must not be in a command line, because every user of the machine can read command lines.
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url, None
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}")), unquote(parts.password)
