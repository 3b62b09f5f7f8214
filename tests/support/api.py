"""An API with only a few operations, on the parts of ports; each test passes the parts that it observes."""

from __future__ import annotations

from collections.abc import Sequence

from lapel.foundation.core.disk_guard import DiskGuard
from lapel.foundation.database.row_quota import Room
from lapel.foundation.http.api import Api
from lapel.foundation.http.operations import Mount, Operation
from lapel.foundation.http.protocols import Limiter, Observer
from lapel.foundation.http.rate_limits import Unlimited
from lapel.foundation.http.strategies.stored import Effects
from lapel.foundation.ports import Ports
from tests.support.declared import authenticator


def api_of(
    ports: Ports,
    operations: Sequence[Operation],
    *,
    body_limit: int,
    answer_timeout: float = 60,
    limiter: Limiter | None = None,
    observe: Observer | None = None,
    disk: DiskGuard | None = None,
    mounts: Sequence[Mount] = (),
) -> Api:
    """`body_limit`: bytes. `answer_timeout`: seconds. Without a limiter there are no rate limits."""
    return Api(
        operations,
        authenticate=authenticator(ports),
        effects=Effects(ports.database, ports.sealer, ports.clock),
        clock=ports.clock,
        ids=ports.ids,
        limiter=limiter or Unlimited(),
        observe=observe or (lambda *_, **__: None),
        body_limit=body_limit,
        answer_timeout=answer_timeout,
        room=Room(disk),
        mounts=mounts,
    )
