"""`lapel migrate`: brings the database to the schema of this Lapel."""

from __future__ import annotations

import msgspec

from lapel.cli.shared.installation import reachable, settings_of
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.foundation.database.schema_version import newest_revision


class Migrated(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    schema: str


def migrate(*, data_dir: DataDir = None, json: Json = False) -> None:
    """Bring the database to this Lapel's schema. Safe to repeat, and from several machines at once.

    `lapel serve` does it by itself for the embedded database. With LAPEL_DATABASE_URL run it once after an
    upgrade, before the servers start.

    For example:

        lapel migrate
        LAPEL_DATABASE_URL=… LAPEL_SECRET=… lapel migrate --json
    """
    settings = settings_of(data_dir)
    # With a given database the folder only holds the secret, and may be new.
    with reachable(settings, migrate=True, begin=settings.database_url is not None):
        pass
    emit(Migrated(newest_revision()), json, lambda: f"The database has schema {newest_revision()}.")
