"""`lapel audit list`, `lapel erasures list` and `lapel holds list`. The server may be running or stopped."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, table
from lapel.foundation.core.actors import ANONYMOUS, Actor, Mode
from lapel.slices.audit.service import AuditLog
from lapel.slices.audit.wire import ACTION, AuditActor, AuditPage, AuditQuery
from lapel.slices.erasure.service import Erasures, Holds
from lapel.slices.erasure.wire import ErasurePage, ErasureQuery, HoldPage, HoldQuery, Requester
from lapel.slices.projects.service import list_worlds

if TYPE_CHECKING:
    from pathlib import Path

    from lapel.foundation.ports import Ports

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Project = Annotated[str | None, Parameter(help="Id of the project. Default: the only one there is.")]
World = Annotated[Literal["test", "live"], Parameter(name="--mode", help="World to list: test or live.")]
Limit = Annotated[
    int, Parameter(help="The most rows, newest first: 1 to 1000.", validator=Number(gte=1, lte=1000))
]
Resource = Annotated[str | None, Parameter(help="Only what concerns the resource with this id.")]
ByActor = Annotated[
    str | None, Parameter(help="Only changes by the actor with this id, or by the `operator`.")
]


def _check_action(_: object, action: str | None) -> None:
    if action is not None and not re.match(ACTION, action):
        raise ValueError("An action is two words with a dot between, such as config.updated.")


Action = Annotated[
    str | None, Parameter(help="Only this action, such as config.updated.", validator=_check_action)
]
State = Annotated[
    Literal["open", "held", "erased", "closed"] | None, Parameter(help="Only entries in this state.")
]
Active = Annotated[bool, Parameter(negative=(), help="Only holds in force.")]

_PAGE = 100


class _Listing(Protocol[T_co]):
    @property
    def data(self) -> Sequence[T_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


def audit(
    *,
    project: Project = None,
    mode: World = "test",
    action: Action = None,
    actor: ByActor = None,
    resource: Resource = None,
    limit: Limit = 20,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List the newest entries of the audit log.

    For example:

        lapel audit list
        lapel audit list --mode live --action config.updated --limit 100
        lapel audit list --project proj_… --actor operator --json
    """

    def page(ports: Ports, operator: Actor, count: int, cursor: str) -> Awaitable[AuditPage]:
        asked = AuditQuery(limit=count, cursor=cursor, action=action, actor=actor, resource_id=resource)
        return AuditLog(ports).list(operator, asked)

    found = _newest(data_dir, project, mode, limit, page)
    rows = [
        (each.created_at, each.action, each.resource_id or each.resource_type, _by(each.actor),
         each.address or "")
        for each in found
    ]  # fmt: skip
    head = ("TIME", "ACTION", "RESOURCE", "BY", "ADDRESS")
    emit({"data": found}, json, lambda: table(head, rows))


def erasures(
    *,
    project: Project = None,
    mode: World = "test",
    state: State = None,
    resource: Resource = None,
    limit: Limit = 20,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List the newest entries of the erasure ledger.

    For example:

        lapel erasures list
        lapel erasures list --state held --limit 1000
        lapel erasures list --resource rec_… --json
    """

    def page(ports: Ports, operator: Actor, count: int, cursor: str) -> Awaitable[ErasurePage]:
        asked = ErasureQuery(limit=count, cursor=cursor, state=state, resource_id=resource)
        return Erasures(ports).list(operator, asked)

    found = _newest(data_dir, project, mode, limit, page)
    rows = [
        (
            each.created_at,
            each.resource_id,
            each.state,
            each.reason,
            _by(each.requested_by),
            each.due_at or "",
        )
        for each in found
    ]
    head = ("DELETED", "RESOURCE", "STATE", "REASON", "BY", "DUE")
    emit({"data": found}, json, lambda: table(head, rows))


def holds(
    *,
    project: Project = None,
    mode: World = "test",
    active: Active = False,
    resource: Resource = None,
    limit: Limit = 20,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """List the newest legal holds.

    For example:

        lapel holds list
        lapel holds list --active --limit 1000
        lapel holds list --mode live --resource eu_… --json
    """

    def page(ports: Ports, operator: Actor, count: int, cursor: str) -> Awaitable[HoldPage]:
        in_force = "true" if active else None
        asked = HoldQuery(limit=count, cursor=cursor, active=in_force, resource_id=resource)
        return Holds(ports).list(operator, asked)

    found = _newest(data_dir, project, mode, limit, page)
    rows = [
        (each.created_at, each.id, each.resource_id, _by(each.placed_by), each.released_at or "",
         each.reason or "")
        for each in found
    ]  # fmt: skip
    head = ("PLACED", "ID", "RESOURCE", "BY", "RELEASED", "REASON")
    emit({"data": found}, json, lambda: table(head, rows))


async def _operator_in(ports: Ports, project_id: str | None, mode: Mode) -> Actor:
    """The operator, without a token, as a reader of a world. Raises CommandError without a clear project."""
    async with ports.database.acquire() as connection:
        worlds = [each for each in await list_worlds(connection, project_id) if each.mode == mode]
    if len(worlds) > 1:
        raise CommandError("there are several projects: name one with --project; see `lapel projects list`.")
    if not worlds:
        raise CommandError("there is no such project; `lapel projects list` shows them.")
    (world,) = worlds
    return msgspec.structs.replace(ANONYMOUS, world_id=world.id, project_id=world.project_id, mode=mode)


def _newest(
    data_dir: Path | None,
    project: str | None,
    mode: Mode,
    limit: int,
    page_of: Callable[[Ports, Actor, int, str], Awaitable[_Listing[T]]],
) -> list[T]:
    """The newest rows of a world. `page_of` gets the most rows of a page, and the last page's cursor."""

    async def work(ports: Ports) -> list[T]:
        operator = await _operator_in(ports, project, mode)
        found: list[T] = []
        cursor: str | None = ""
        while cursor is not None and len(found) < limit:
            page = await page_of(ports, operator, min(limit - len(found), _PAGE), cursor)
            found += page.data
            cursor = page.next_cursor
        return found

    return with_ports(settings_of(data_dir), work)


def _by(caller: AuditActor | Requester | None) -> str:
    if caller is None:
        return ""
    return caller.id or caller.kind
