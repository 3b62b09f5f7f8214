"""`lapel projects create|list`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, table, visible
from lapel.slices.projects.service import Projects

Name = Annotated[str, Parameter(help="A name for people, 1 to 200 characters.")]
Organization = Annotated[str | None, Parameter(help="Id of the organization. Default: the oldest one.")]


def create(
    name: Name, /, *, organization: Organization = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Make a project, with a live and a test world that share nothing.

    For example:

        lapel projects create "Acme wearables"
        lapel projects create Acme --data-dir /srv/lapel --json
    """
    made = with_ports(settings_of(data_dir), lambda ports: Projects(ports).create(name, organization))
    emit(made, json, lambda: f"{made.id}  {visible(made.name)}")


def list_(*, data_dir: DataDir = None, json: Json = False) -> None:
    """List all projects, oldest first.

    For example:

        lapel projects list
        lapel projects list --json
    """
    found = with_ports(settings_of(data_dir), lambda ports: Projects(ports).list())
    rows = [(each.id, each.organization_id, each.name, each.created_at) for each in found]
    emit({"data": found}, json, lambda: table(("ID", "ORGANIZATION", "NAME", "CREATED"), rows))
