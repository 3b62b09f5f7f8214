"""The slice of end users, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.end_users import routes
from lapel.slices.end_users.service import EndUsers, Issuer

SLICE = Slice(
    name="end_users",
    build=lambda services: (EndUsers(services.ports, services[Issuer]),),
    operations=lambda services: routes.operations(services[EndUsers]),
)
