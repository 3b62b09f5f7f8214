"""A slice as data, and the services that the slices of one process make.

Code that needs every slice (router, OpenAPI document, worker, tests) reads a tuple of `Slice`. The
application's tuple is in `app.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from lapel.foundation.openapi.document import Nouns, document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lapel.foundation.core.errors import ApiError
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.database.outbox import SampleMaker
    from lapel.foundation.http.operations import Mount, Operation
    from lapel.foundation.identity.token_kinds import TokenKind
    from lapel.foundation.openapi.schemas import Schema
    from lapel.foundation.ports import Ports
    from lapel.foundation.queue.jobs import Job, QueueLane, Schedule


S = TypeVar("S")


class WorkerPart(Protocol):
    """A part of a slice that only a worker process has, in addition to the slice's services."""

    async def start(self) -> None:
        """Called before the first job."""
        ...

    async def stop(self) -> None:
        """Called as soon as the worker is told to stop, while jobs are still running."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A service that holds something, such as a child process, until its process ends."""

    async def aclose(self) -> None:
        """Called when everything else has stopped."""
        ...


def _none(_services: Services) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a slice. `grows`: clients can make or lengthen its rows, so the quota of rows counts the
    table.

    `shared`: why its rows belong to no world; empty for a table with `world_id`.
    """

    name: str
    grows: bool = False
    shared: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slice:
    """What one slice consists of.

    `build` makes the slice's services; it may use the services of slices earlier in the tuple. `operations`,
    `mounts`, `jobs` and `schedules` are called after all slices are built. In a worker process, `worker` is
    called before `jobs` and `schedules`, which may use the parts that `worker` made.
    """

    name: str
    build: Callable[[Services], Sequence[object]] = _none
    operations: Callable[[Services], Sequence[Operation]] = _none
    # Applications that speak a protocol of their own, beside the operations.
    mounts: Callable[[Services], Sequence[Mount]] = _none
    worker: Callable[[Services], Sequence[WorkerPart]] = _none
    jobs: Callable[[Services], Sequence[Job]] = _none
    schedules: Callable[[Services], Sequence[Schedule]] = _none
    # The scopes that an API key may have for this slice.
    scopes: tuple[str, ...] = ()
    # Names of path parameters and other fields that hold ids of the slice, each with the prefix of these ids.
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    # Names of path parameters that hold UUIDs.
    uuids: tuple[str, ...] = ()
    token_kinds: tuple[TokenKind, ...] = ()
    # The errors that clients see, beyond those of `core/errors.py`.
    errors: tuple[type[ApiError], ...] = ()
    # Rate limits of some operations, beyond the usual ones.
    buckets: tuple[RateLimit, ...] = ()
    lanes: tuple[QueueLane, ...] = ()
    tables: tuple[Table, ...] = ()
    # The types of the events that it publishes, each with the maker of its samples.
    events: Mapping[str, SampleMaker] = field(default_factory=dict[str, "SampleMaker"])
    # The named places at which tests kill the process, as a power cut would.
    crash_points: tuple[str, ...] = ()


# The tables that the foundation itself writes.
OWN_TABLES = (
    Table("audit_log", grows=True),
    Table("audit_details", grows=True),
    Table("audit_unchained"),
    Table("events", grows=True),
    Table("event_positions"),
    Table("full_worlds"),
    Table("idempotency_keys", grows=True),
    Table("alembic_version", shared="the schema's revision"),
    Table("installation_secret", shared="the fingerprint of the server's secret"),
    Table("token_peppers", shared="the peppers of former secrets, sealed"),
    Table("job_starts", shared="counts per job, without content"),
    Table("key_caches", shared="the processes that cache keys"),
    Table("rate_windows", shared="counters; the name of the bucket contains the world"),
    Table("workers", shared="the running workers"),
)


class Services:
    """The services of one process: `services[Devices]` is the service of the class Devices."""

    def __init__(self, ports: Ports, slices: Sequence[Slice]) -> None:
        self.ports = ports
        self.slices = tuple(slices)
        self._made: list[object] = []
        for each in slices:
            self._made += each.build(self)

    def __getitem__(self, kind: type[S]) -> S:
        """The newest service of a class or of its subclasses. Raises KeyError when there is none yet."""
        for each in reversed(self._made):
            if isinstance(each, kind):
                return each
        raise KeyError(kind)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every route, in the order of the slices."""
        return tuple(made for each in self.slices for made in each.operations(self))

    def mounts(self) -> tuple[Mount, ...]:
        """Every mounted application."""
        return tuple(made for each in self.slices for made in each.mounts(self))

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table; the foundation's tables come last."""
        return (*(table for each in self.slices for table in each.tables), *OWN_TABLES)

    def worker_parts(self) -> tuple[WorkerPart, ...]:
        """Make the parts that only a worker has; call this before `jobs` and `schedules`."""
        made = tuple(part for each in self.slices for part in each.worker(self))
        self._made += made
        return made

    async def aclose(self) -> None:
        """Close the services that hold something, the newest first."""
        for each in reversed(self._made):
            if isinstance(each, Closable):
                await each.aclose()

    def jobs(self) -> tuple[Job, ...]:
        """Every kind of background work."""
        return tuple(made for each in self.slices for made in each.jobs(self))

    def schedules(self) -> tuple[Schedule, ...]:
        """Everything that runs on a schedule."""
        return tuple(made for each in self.slices for made in each.schedules(self))


def nouns_of(slices: Sequence[Slice]) -> Nouns:
    """What the OpenAPI document needs from the slices, in addition to their operations."""
    return Nouns(
        tuple(kind for each in slices for kind in each.token_kinds),
        {name: prefix for each in slices for name, prefix in each.ids.items()},
        frozenset(name for each in slices for name in each.uuids),
    )


def described(services: Services) -> Schema:
    """The OpenAPI document of all slices."""
    nouns = nouns_of(services.slices)
    return document(services.operations, nouns, server_url=services.ports.settings.base_url)
