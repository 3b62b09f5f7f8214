"""The slice of retention, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.recordings.service import Recordings
from lapel.slices.retention import jobs, routes
from lapel.slices.retention.service import Retention

_CRASH_POINTS = ("retention:begin", "retention:locked", "retention:before-commit", "retention:committed")

SLICE = Slice(
    name="retention",
    build=lambda services: (Retention(services.ports, services[Recordings]),),
    operations=lambda services: routes.operations(services[Retention]),
    schedules=lambda services: jobs.schedules(services[Retention]),
    tables=(Table("retention_counts", shared="how much retention has erased since the installation"),),
    crash_points=_CRASH_POINTS,
)
