"""The slice of the server itself (health, documents, housekeeping), as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.system import jobs, routes

SLICE = Slice(
    name="system",
    operations=routes.operations,
    schedules=jobs.schedules,
)
