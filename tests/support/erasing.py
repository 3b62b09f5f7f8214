"""The background work after the deletion of an end user, run at once."""

from __future__ import annotations

from lapel import app
from lapel.foundation.ports import Ports
from lapel.slices.recordings.payloads import DeleteOfEndUser
from lapel.slices.recordings.service import Recordings


async def delete_rows(ports: Ports, world_id: int, person: str) -> None:
    """Runs the job that removes the rows of a deleted end user."""
    await app.open_services(ports)[Recordings].deletion.delete_of_end_user(DeleteOfEndUser(world_id, person))
