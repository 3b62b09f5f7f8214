"""The slice of projects and API keys, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule
from lapel.foundation.slices import Slice, Table
from lapel.slices.projects import routes
from lapel.slices.projects.key_queries import API_KEY
from lapel.slices.projects.revocations.service import KeyRevocations
from lapel.slices.projects.service import Keys, Projects

if TYPE_CHECKING:
    from lapel.foundation.slices import Services


def _build(services: Services) -> tuple[object, ...]:
    ports = services.ports
    keys = Keys(ports)
    # The same list: `app.py` adds the hooks later.
    return (Projects(ports), keys, KeyRevocations(ports, keys.on_revoke_issued))


SLICE = Slice(
    name="projects",
    build=_build,
    operations=lambda services: routes.operations(services[Keys]),
    schedules=lambda services: (
        Schedule(name="keys.revocations", expression="* * * * *", handler=services[KeyRevocations].tell),
    ),
    scopes=("keys:write", "end_user_keys:write"),
    ids={"organization_id": "org", "project_id": "proj", "key_id": "key"},
    token_kinds=(API_KEY,),
    tables=(
        Table("organizations", shared="above worlds"),
        Table("projects", shared="above worlds"),
        Table("worlds", shared="the worlds themselves"),
        Table("api_keys", grows=True),
    ),
)
