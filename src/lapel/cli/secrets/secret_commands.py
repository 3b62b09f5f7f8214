"""`lapel secrets reseal`. The server may be running or stopped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lapel.cli.doctor.secret_checks import BATCH, SEALED, unusable
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, say, table
from lapel.foundation.identity.installation_secret import accepted_secrets, take_turn
from lapel.foundation.identity.kept_peppers import keep_peppers
from lapel.foundation.identity.sealed_values import Resealed
from lapel.foundation.identity.sealed_values import reseal as reseal_values

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports


def reseal(*, data_dir: DataDir = None, json: Json = False) -> None:
    """Encrypt everything that is sealed again, under the present secret.

    Run it after each change of LAPEL_SECRET, with both secrets, when all machines have
    the new one. Then the secret can be changed again.

    For example:

        lapel secrets reseal
        lapel secrets reseal --data-dir /srv/lapel --json
    """
    done, lost = with_ports(settings_of(data_dir), _reseal_all)
    rows = [(kind, str(each.resealed), str(each.unreadable)) for kind, each in done.items()]
    shown = {kind: each._asdict() for kind, each in done.items()}
    emit({"sealed": shown}, json, lambda: table(("SEALED", "RESEALED", "UNREADABLE"), rows))
    if lost is not None:
        say(f"Warning: the database has keys or tokens {lost}.")
    if lost is not None or any(each.unreadable for each in done.values()):
        raise CommandError("something needs a secret that is not loaded: `lapel doctor` says what to do.")


async def _reseal_all(ports: Ports) -> tuple[dict[str, Resealed], str | None]:
    """What was done for each kind of value, and the sentence of `unusable`."""
    async with ports.database.transaction() as connection:
        await take_turn(connection)
        await keep_peppers(connection, ports.sealer, accepted_secrets(ports.settings), datetime.now(UTC))
    async with ports.database.acquire() as connection:
        done = {
            kind: await reseal_values(connection, ports.sealer, walk(connection, BATCH))
            for kind, walk in SEALED.items()
        }
        return done, await unusable(connection, ports.settings)
