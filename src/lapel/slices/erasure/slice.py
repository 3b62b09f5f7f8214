"""The slice of the erasure ledger, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.erasure import jobs, routes
from lapel.slices.erasure.service import Erasures, Holds

_CRASH_POINTS = (
    "erase:begin",
    "erase:remembered",
    "erase:listed",
    "erase:objects-deleted",
    "erase:before-close",
    "erase:closed",
)

SLICE = Slice(
    name="erasure",
    build=lambda services: (Erasures(services.ports), Holds(services.ports)),
    operations=lambda services: routes.operations(services[Erasures], services[Holds]),
    jobs=lambda services: jobs.handlers(services[Erasures]),
    schedules=lambda services: jobs.schedules(services[Erasures]),
    ids={"erasure_id": "era", "hold_id": "hld"},
    # `local_copies` names the recordings that workers have on their disks now.
    tables=(Table("erasures", grows=True), Table("holds", grows=True), Table("local_copies")),
    crash_points=_CRASH_POINTS,
)
