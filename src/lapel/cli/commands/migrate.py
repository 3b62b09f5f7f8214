"""`lapel migrate`: migrates the database to the schema of this version of Lapel."""

from __future__ import annotations

import msgspec

from lapel.cli.shared.installation import reachable, settings_of
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.foundation.database.schema.schema_version import newest_revision


class Migrated(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    schema: str


def migrate(*, data_dir: DataDir = None, json: Json = False) -> None:
    """Migrate the database to this version's schema. Safe to repeat, and on several machines at once.

    For the embedded database `lapel serve` does this by itself. With LAPEL_DATABASE_URL run `lapel migrate`
    once after an upgrade, before the servers start.

    For example:

        lapel migrate
        LAPEL_DATABASE_URL=… LAPEL_SECRET=… lapel migrate --json
    """
    with reachable(settings_of(data_dir), migrate=True):
        pass
    emit(Migrated(newest_revision()), json, lambda: f"The database has schema {newest_revision()}.")
