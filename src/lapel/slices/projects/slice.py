"""The slice of projects and API keys, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.projects import routes
from lapel.slices.projects.service import Keys, Projects

SLICE = Slice(
    name="projects",
    build=lambda services: (Projects(services.ports), Keys(services.ports)),
    operations=lambda services: routes.operations(services[Keys]),
)
