"""The slice of the configuration, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration import routes
from lapel.slices.configuration.events import SAMPLES
from lapel.slices.configuration.service import Configuration

SLICE = Slice(
    name="configuration",
    build=lambda services: (Configuration(services.ports),),
    operations=lambda services: routes.operations(services[Configuration]),
    scopes=("config:read", "config:write"),
    events=SAMPLES,
    tables=(
        Table("config_overrides", grows=True),
        Table("organization_config_overrides", shared="above worlds; each row names its mode"),
    ),
)
