"""A slice as data, and the services that the slices of one process make.

Whatever has to know every slice (router, OpenAPI document, worker, tests) reads a tuple of `Slice`; the
application's is in `app.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lapel.foundation.http.operations import Operation
    from lapel.foundation.ports import Ports
    from lapel.foundation.queue.jobs import Job, Schedule


S = TypeVar("S")


class WorkerPart(Protocol):
    """What a slice needs in a worker process, beside its services."""

    async def start(self) -> None:
        """Called before the first job."""
        ...

    async def stop(self) -> None:
        """Called as soon as the worker is told to stop, while jobs are still running."""
        ...


def _none(_services: Services) -> tuple[()]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one slice consists of.

    `build` makes its services; it may use the services of slices that stand before it in the tuple.
    `operations`, `jobs` and `schedules` are called when all slices are built; `jobs` and `schedules` also
    find what `worker` made, which only a worker process has.
    """

    name: str
    build: Callable[[Services], Sequence[object]] = _none
    operations: Callable[[Services], Sequence[Operation]] = _none
    worker: Callable[[Services], Sequence[WorkerPart]] = _none
    jobs: Callable[[Services], Sequence[Job]] = _none
    schedules: Callable[[Services], Sequence[Schedule]] = _none
    # The named places at which tests kill the process, as a power cut would.
    crash_points: tuple[str, ...] = ()


class Services:
    """The services of one process: `services[Devices]` is the one of this class."""

    def __init__(self, ports: Ports, slices: Sequence[Slice]) -> None:
        self.ports = ports
        self.slices = tuple(slices)
        self._made: list[object] = []
        for each in slices:
            self._made += each.build(self)

    def __getitem__(self, kind: type[S]) -> S:
        """The newest service of a class, or of a class below it. Raises KeyError when there is none yet."""
        for each in reversed(self._made):
            if isinstance(each, kind):
                return each
        raise KeyError(kind)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """Every route, in the order of the slices."""
        return tuple(made for each in self.slices for made in each.operations(self))

    def worker_parts(self) -> tuple[WorkerPart, ...]:
        """Make what jobs and schedules need beside the services; call this before `jobs` and `schedules`."""
        made = tuple(part for each in self.slices for part in each.worker(self))
        self._made += made
        return made

    def jobs(self) -> tuple[Job, ...]:
        """Every kind of background work."""
        return tuple(made for each in self.slices for made in each.jobs(self))

    def schedules(self) -> tuple[Schedule, ...]:
        """Everything that runs on a schedule."""
        return tuple(made for each in self.slices for made in each.schedules(self))
