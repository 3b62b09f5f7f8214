"""The slice of end users, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.end_users import routes
from lapel.slices.end_users.end_user_holds import EndUserHolds
from lapel.slices.end_users.end_user_token_queries import END_USER_TOKEN
from lapel.slices.end_users.service import EndUsers, Issuer
from lapel.slices.erasure.service import Holds

SLICE = Slice(
    name="end_users",
    build=lambda services: (
        EndUsers(services.ports, services[Issuer]),
        EndUserHolds(services.ports, Holds(services.ports)),
    ),
    operations=lambda services: routes.operations(services[EndUsers], services[EndUserHolds]),
    scopes=("end_users:read", "end_users:write"),
    ids={"end_user_id": "eu"},
    token_kinds=(END_USER_TOKEN,),
    # An end user has at most one token, and its row contains no text of clients.
    tables=(Table("end_users", grows=True), Table("end_user_tokens")),
)
