"""The structs of the routes about the server itself."""

from __future__ import annotations

from typing import Literal

import msgspec

QueueState = Literal["running", "no_worker", "disconnected"]
DiskState = Literal["ok", "uploads_refused", "writes_refused"]


class Health(msgspec.Struct, frozen=True):
    """Whether this server can work. The answer always has exactly these keys."""

    status: Literal["healthy", "unhealthy"]
    database: Literal["connected", "disconnected"]
    billing: Literal["disabled"] = "disabled"


class Migrations(msgspec.Struct, frozen=True):
    """The schema revision of the database, and that of this server. The former may be newer."""

    applied: str | None
    expected: str


class Readiness(msgspec.Struct, frozen=True):
    """The state of every part.

    `status`: `degraded` if the server answers requests, but a request that needs the missing part is refused,
    or its work waits; `unready` if it answers no request: send none. `database`: `no_new_connections` if
    requests are served by connections that are open, and the database accepted no new one within the last
    seconds. `disk`: what the server refuses because a disk of its machine is nearly full. `version` and
    `commit`: of the build that answers; `commit` is null if the build did not record it.
    """

    status: Literal["ready", "degraded", "unready"]
    database: Literal["connected", "no_new_connections", "disconnected"]
    store: Literal["connected", "disconnected"]
    queue: QueueState
    disk: DiskState
    migrations: Migrations
    version: str
    commit: str | None


class StoreHealth(msgspec.Struct, frozen=True):
    """Whether a process that serves the embedded store alone can work."""

    status: Literal["healthy", "unhealthy"]
    store: Literal["connected", "disconnected"]


class StoreReadiness(msgspec.Struct, frozen=True):
    """The state of a process that serves the embedded store alone. `status` as in `Readiness`."""

    status: Literal["ready", "degraded", "unready"]
    store: Literal["connected", "disconnected"]
    disk: DiskState
    version: str
    commit: str | None
