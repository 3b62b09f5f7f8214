"""The slice of firmware, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.firmware import jobs, routes
from lapel.slices.firmware.events import SAMPLES
from lapel.slices.firmware.service import Firmware

_CRASH_POINTS = (
    # the upload of a release
    "firmware:begin",
    "firmware:writing",
    "firmware:stored",
    "firmware:before-commit",
    "firmware:committed",
    # the jobs of a rollout
    "rollout:begin",
    "rollout:before-commit",
    "rollout:committed",
    "rollout:halted",
    "withdraw:before-commit",
    "withdraw:committed",
    # the schedules
    "deadlines:before-commit",
    "deadlines:committed",
    "firmware-sweep:before-delete",
    "firmware-sweep:deleted",
)

SLICE = Slice(
    name="firmware",
    build=lambda services: (Firmware(services.ports),),
    operations=lambda services: routes.operations(services[Firmware]),
    jobs=lambda services: jobs.handlers(services[Firmware]),
    schedules=lambda services: jobs.schedules(services[Firmware]),
    scopes=("firmware:write",),
    ids={"release_id": "fw", "rollout_id": "rol", "assignment_id": "ota"},
    tables=(
        Table("firmware_releases", grows=True),
        Table("rollouts", grows=True),
        Table("ota_assignments", grows=True),
    ),
    events=SAMPLES,
    crash_points=_CRASH_POINTS,
)
