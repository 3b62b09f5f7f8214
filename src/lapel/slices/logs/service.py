"""Following the requests of a world as they are answered, by whichever process. Nothing is stored."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.request_id import REQUEST_ID
from lapel.foundation.telemetry import redact
from lapel.slices.logs.known_tails import KnownTails
from lapel.slices.logs.open_tails import REQUESTS_CHANNEL, TAILS_CHANNEL, OpenTails
from lapel.slices.logs.request_filter import filter_of
from lapel.slices.logs.summary_batches import SummaryBatches
from lapel.slices.logs.wire import RequestActor, RequestSummary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.protocols import AnsweredRequest
    from lapel.foundation.ports import Ports
    from lapel.slices.logs.wire import LogStreamQuery

# A quiet stream sends a comment this often, so that proxies keep it open and a client notices a dead server.
HEARTBEAT_SECONDS = 15.0
BATCH_SECONDS = 0.15
# A process announces its tails this often. The others forget a tail after three times as long.
ANNOUNCE_SECONDS = 5.0
# Clients wait this long before they connect again.
_RETRY_MS = 2000
_LONGEST_PATH = 200
_LONGEST_ADDRESS = 64
# Ids have 24 characters after their prefix. A segment of a path that has more may be a secret, whatever its
# characters: base64url and UUIDs have others between letters and digits.
_LONG_SEGMENT = re.compile(r"/([a-z]{1,5}_)?+[^/]{25,}")


class Logs:
    """The requests of all worlds, for those who follow them."""

    channel = TAILS_CHANNEL
    """Announcements of tails; an API process gives each one to `hear`."""

    def __init__(
        self,
        ports: Ports,
        *,
        heartbeat: float = HEARTBEAT_SECONDS,
        batch_every: float = BATCH_SECONDS,
        announce_every: float = ANNOUNCE_SECONDS,
    ) -> None:
        """All times: seconds."""
        self._clock = ports.clock
        self._heartbeat = heartbeat
        self._known = KnownTails(3 * announce_every)
        listen_dsn = ports.settings.listen_database_url or ports.database.dsn
        self._tails = OpenTails(ports.database, listen_dsn, self._known, announce_every=announce_every)
        self._batches = SummaryBatches(ports.database, REQUESTS_CHANNEL, self._known.has, every=batch_every)

    def hear(self, payload: str) -> None:
        """Take an announcement of a tail. An empty one: a process began to listen and knows of no tail."""
        if payload:
            self._known.hear(payload)
        else:
            self._tails.repeat()

    @property
    def followed(self) -> Container[int]:
        """See RequestLog."""
        return self._known.by_world

    def note(self, request: AnsweredRequest) -> None:
        """See RequestLog."""
        matching = self._known.matching(request)
        if not matching:
            return
        # A filter sees the shown path, so that nobody finds out by filters what the shown path hides.
        path = shown_path(request.path)
        tails = [tail for tail, beginning in matching if path.startswith(beginning)]
        if tails:
            self._batches.add(request.actor.world_id, tails, lambda: self._summary(request, path))

    def _summary(self, request: AnsweredRequest, path: str) -> RequestSummary:
        return RequestSummary(
            request_id=request.id,
            created_at=timestamp(self._clock.now() - timedelta(seconds=request.seconds)),
            method=request.method,
            path=path,
            status=request.status,
            duration_ms=round(request.seconds * 1000, 1),
            actor=RequestActor(kind=request.actor.kind, id=request.actor.id),
            address=None if request.address is None else request.address[:_LONGEST_ADDRESS],
            error_code=request.error_code,
        )

    async def stream(self, actor: Actor, query: LogStreamQuery) -> AsyncGenerator[bytes]:
        """The requests of the actor's world from now on, as server-sent events, for ever.

        Raises InvalidRequest for a filter that matches no request, Unavailable when the database is
        unavailable or its connection breaks.
        """
        only = filter_of(query)
        async with self._tails.tail(actor.world_id, only, REQUEST_ID.get()) as tail:
            yield b"retry: %d\n\n" % _RETRY_MS  # the client knows that the stream has begun
            while True:
                yield await tail.next(self._heartbeat)


def shown_path(path: str) -> str:
    """A path without what may be a secret, and not too long.

    A client can put anything into a path, also its token: the answer is 404, and the request is shown.
    """
    hidden = _LONG_SEGMENT.sub(r"/\1***", redact(path))
    return hidden if len(hidden) <= _LONGEST_PATH else f"{hidden[:_LONGEST_PATH]}…"
