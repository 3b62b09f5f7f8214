"""`lapel init`: prepares an installation without serving it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from lapel.cli.doctor.secret_checks import check_secret
from lapel.cli.shared.bucket import prepare_bucket
from lapel.cli.shared.first_key import FirstKey, handed_over
from lapel.cli.shared.installation import reachable, settings_of
from lapel.cli.shared.options import DataDir, Json, emit, is_piped, named
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.projects.operator import ensure_first_key


class Initialized(msgspec.Struct, frozen=True):
    """What `--json` prints.

    If the installation had no key, a new key is in `key` on a terminal, and in the file `key_file` elsewhere.
    If there is neither a terminal nor a data folder, no key is made.
    """

    data_dir: str | None
    schema: str
    bucket: str
    bucket_made: bool
    cors: str
    key: str | None
    key_file: str | None


NewSecret = Annotated[
    bool,
    Parameter(
        negative=(),
        help="The secret is a new one, and the former is lost: what was made under it stays dead.",
    ),
]


def init(*, data_dir: DataDir = None, new_secret: NewSecret = False, json: Json = False) -> None:
    """Prepare database, bucket (with CORS for uploads from browsers) and a first key. Safe to repeat.

    For the embedded database and store `lapel serve` does the same by itself. With LAPEL_DATABASE_URL and
    LAPEL_S3_ENDPOINT run `lapel init` once before the first start.

    For example:

        lapel init
        lapel init --data-dir /srv/lapel --json
        LAPEL_DATABASE_URL=… LAPEL_SECRET=… LAPEL_S3_ENDPOINT=… lapel init
    """
    with reachable(settings_of(data_dir), store=True, migrate=True, begin=True) as settings:
        check_secret(settings, replaces=new_secret)

        async def work() -> Initialized:
            async with open_ports(settings) as ports:
                made, cors = await prepare_bucket(ports)
                first = await _key(ports)
                return Initialized(
                    str(settings.data_dir) if settings.uses_embedded_database else None,
                    newest_revision(), settings.s3_bucket, made, cors, first.key, first.file,
                )  # fmt: skip

        done = asyncio.run(work())
    emit(done, json, lambda: _lines(done))


async def _key(ports: Ports) -> FirstKey:
    """The first key, which is made only if a terminal can show it or a data folder can hold it."""
    settings = ports.settings
    has_folder = settings.uses_embedded_database or settings.uses_embedded_store
    if is_piped() and not has_folder:
        return FirstKey()
    first = await ensure_first_key(ports)
    return handed_over(first.key if first else None, settings.data_dir)


def _lines(done: Initialized) -> Table:
    lines = [
        ("Database", f"schema {done.schema}" + (f" in {done.data_dir}" if done.data_dir else "")),
        ("Bucket", f"{done.bucket} ({'made' if done.bucket_made else 'was there'}), CORS {done.cors}"),
    ]
    if (key := FirstKey(done.key, done.key_file).line()) is not None:
        lines.append(("Secret key", key))
    elif done.data_dir is None and is_piped():
        lines.append(
            ("Secret key", "not made, because there is no terminal to show it; `lapel keys create` makes one")
        )
    return named(lines)
