"""The structs of the routes about the server itself."""

from __future__ import annotations

from typing import Literal

import msgspec


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

    `version` and `commit`: of the build that answers; `commit` is null if the build did not record it.
    `degraded`: the server answers requests, but a request that needs the missing part is answered 503, or
    its work waits. `unready`: send no requests.
    """

    status: Literal["ready", "degraded", "unready"]
    database: Literal["connected", "disconnected"]
    store: Literal["connected", "disconnected"]
    queue: Literal["running", "no_worker", "disconnected"]
    migrations: Migrations
    version: str
    commit: str | None
