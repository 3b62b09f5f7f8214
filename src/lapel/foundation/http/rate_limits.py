"""Rate limits that hold for all processes together, without a database write per request.

Each bucket is counted in fixed windows. A process takes a small **lease** from the window's shared counter
(one upsert) and spends it in memory. No request is leased twice, so leases never exceed a limit. Leased
requests that a process does not spend are lost to the others until the window ends. Therefore a lease is a
twentieth of the requests that this process spent in this window and the previous one: over any number of
processes at most a tenth of the limit is lost.

There are many devices, and each calls about once a minute: a lease for each call would be a write for each
call. So a device may spend a twentieth of its limit before the process takes the first lease, which then
includes the spent requests. If a device reaches several processes, each further process may let a twentieth
of the limit more through.

All tokens of a device share its bucket. The process remembers the device of each valid token; a token that
the process does not know has no bucket and no row.

If the shared counter does not answer in time, requests pass uncounted, and
`lapel_rate_limit_unreachable_total` counts them.

docs/decisions/0015 gives the reasons.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import structlog
from prometheus_client import Counter

from lapel.foundation.core.errors import RateLimitExceeded, Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY, Database
from lapel.foundation.database.time_limits import is_pooled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.http.operations import Endpoint
    from lapel.foundation.http.responses import Headers
    from lapel.settings import Settings

PATIENCE_SECONDS = 0.05
_REST_SECONDS = 1.0  # pause after a failure, before the counter is asked again
_LEASE_SHARE = 20
_CREDIT_SHARE = 20
_CAPACITY = 20_000
_FORGET_SECONDS = 120

# `used` may end above the limit; the last lease grants only what was left of the limit.
LEASE = """
INSERT INTO rate_windows AS w (bucket, window_start, used) VALUES ($1, $2, $3)
ON CONFLICT (bucket, window_start) DO UPDATE SET used = w.used + $3 WHERE w.used < $4
RETURNING used
"""
FORGET = "DELETE FROM rate_windows WHERE window_start < $1"
# `window_start` counts seconds since 1970.
PRUNE_WINDOWS = """
DELETE FROM rate_windows WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM rate_windows WHERE window_start < extract(epoch FROM $1::timestamptz) LIMIT $2))
"""

UNREACHABLE = Counter(
    "lapel_rate_limit_unreachable_total",
    "Requests that passed uncounted because the rate counter did not answer in time.",
)
REFUSED = Counter("lapel_rate_limit_refused_total", "Requests refused with 429.", ["limit"])

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


# World, owner (a device; '' for the project) and the declared bucket that a request draws on.
_Drawn: TypeAlias = "tuple[int, str, RateLimit | None]"


class Unlimited:
    """No limits, no headers: the embedded single-machine mode."""

    async def take(self, actor: Actor, operation: Endpoint) -> Headers:  # noqa: ARG002 - Limiter's shape
        """Let every request pass."""
        return ()

    async def take_known(self, token_hash: bytes) -> Headers | None:  # noqa: ARG002 - Limiter's shape
        """Let every request pass."""
        return ()

    def forget(self, token_hash: bytes) -> None:
        """Do nothing: no token is remembered."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """`limit` requests per `seconds`; the first `credit` of them pass without a lease.

    `name` is used in bucket keys and metrics; `shown` is the limit as a header's value.
    """

    name: str
    limit: int
    seconds: int
    credit: int = 0
    shown: bytes = b""


class _Bucket:
    """One rule for one owner, as far as this process knows."""

    __slots__ = (
        "exhausted",
        "key",
        "known",
        "left",
        "owed",
        "previous",
        "reset",
        "rule",
        "spent",
        "task",
        "waiting",
        "window",
    )

    def __init__(self, rule: _Rule, key: str) -> None:
        self.rule = rule
        self.key = key
        self.window = 0  # Unix seconds of its start
        self.reset = 0  # and of its end
        self.left = 0  # leased and not spent yet
        self.owed = 0  # requests without a lease: spent, or still in `left`
        self.spent = 0  # spent here in this window
        self.previous = 0  # spent here in the window before
        self.known = 0  # leased by all processes, as of the last lease
        self.exhausted = False
        self.waiting = 0
        self.task: asyncio.Task[bool] | None = None

    def roll(self, window: int) -> None:
        """Begin another window."""
        self.previous = self.spent if window == self.window + self.rule.seconds else 0
        self.window = window
        self.reset = window + self.rule.seconds
        self.left = self.owed = self.rule.credit
        self.spent = self.known = 0
        self.exhausted = False

    @property
    def remaining(self) -> int:
        """The rest of the limit, as far as this process knows."""
        return max(0, self.rule.limit - self.known - self.owed) + self.left


class RateLimiter:
    """The limits of contract section 6, counted by this process and the others together."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        holders: Mapping[ActorKind, RateLimit],
        *,
        patience: float,
    ) -> None:
        """`holders`: the kinds of callers that have a limit of their own. `patience`: seconds that a request
        waits for the counter before it passes uncounted."""
        self._database = database
        self._clock = clock
        self._patience = patience
        usual = (
            _Rule("second", settings.rate_per_second, 1),
            _Rule("minute", settings.rate_per_minute, 60),
        )
        self._settings = settings
        # By the operation's bucket: the limits of a project's requests.
        self._project: dict[RateLimit | None, tuple[_Rule, ...]] = {None: _active(*usual)}
        # By the kind of a token's holder: the rate limit that each holder has of its own. `_own`: the rules
        # of that limit.
        self._holders = holders
        self._own = {each: _active(_own_rule(each, settings)) for each in holders.values()}
        # Two generations: a bucket that is unused during a whole generation is forgotten.
        self._buckets: dict[str, _Bucket] = {}
        self._older: dict[str, _Bucket] = {}
        # The buckets of one request, found with one look-up; all are of the present generation.
        self._groups: dict[_Drawn, list[_Bucket]] = {}
        # By the hash of a valid token: the buckets of its device.
        self._devices: dict[bytes, _Drawn] = {}
        self._turned = 0
        self._swept = 0
        self._rest_until = 0.0

    async def take(self, actor: Actor, operation: Endpoint) -> Headers:
        """Count one request; returns the headers of its tightest bucket.

        Raises RateLimitExceeded when one of its buckets is exhausted.
        """
        own = self._holders.get(actor.kind)
        if own is None:
            # All other callers of a project share the project's buckets.
            return await self._take((actor.world_id, "", operation.bucket))
        drawn = (actor.world_id, actor.id, own)
        if len(self._devices) >= _CAPACITY:
            self._devices.clear()
        if actor.token_hash:
            self._devices[actor.token_hash] = drawn
        return await self._take(drawn)

    async def take_known(self, token_hash: bytes) -> Headers | None:
        """`take` by the hash of a device's token. Returns None, uncounted, for an unknown token.

        Raises RateLimitExceeded as `take` does.
        """
        drawn = self._devices.get(token_hash)
        return None if drawn is None else await self._take(drawn)

    def forget(self, token_hash: bytes) -> None:
        """Forget a token that is refused now: it no longer counts for its device."""
        self._devices.pop(token_hash, None)

    async def _take(self, drawn: _Drawn) -> Headers:
        buckets = self._buckets_of(drawn)
        for bucket in buckets:
            if bucket.left < 1:
                found = await self._fill(drawn)
                if found is None:
                    UNREACHABLE.inc()
                    return ()
                buckets = found
                break
        for bucket in buckets:
            bucket.left -= 1
            bucket.spent += 1
        return _headers(buckets)

    def _buckets_of(self, drawn: _Drawn) -> list[_Bucket]:
        """The buckets that a request draws on, in the present window."""
        now = int(self._clock.now().timestamp())
        if not 0 <= now - self._turned < _FORGET_SECONDS:
            self._turn(now)
        found = self._groups.get(drawn)
        if found is None:
            if len(self._buckets) >= _CAPACITY:
                self._turn(now)
            found = self._group(drawn)
        for bucket in found:
            if not bucket.window <= now < bucket.reset:
                bucket.roll(now - now % bucket.rule.seconds)
        return found

    def _turn(self, now: int) -> None:
        """Begin a generation; forget the buckets that were not used during the previous generation."""
        self._older, self._buckets, self._turned = self._buckets, {}, now
        self._groups = {}

    def _group(self, drawn: _Drawn) -> list[_Bucket]:
        world_id, owner, declared = drawn
        rules = self._own[declared] if owner and declared else self._rules(declared)
        found: list[_Bucket] = []
        for rule in rules:
            key = f"{rule.name}:{world_id}:{owner}"
            bucket = self._buckets.get(key) or self._older.pop(key, None) or _Bucket(rule, key)
            self._buckets[key] = bucket
            found.append(bucket)
        self._groups[drawn] = found
        return found

    def _rules(self, bucket: RateLimit | None) -> tuple[_Rule, ...]:
        """The limits of a project's requests to operations with this bucket."""
        rules = self._project.get(bucket)
        if rules is None and bucket is not None:
            more = _active(_Rule(bucket.name, bucket.per_minute(self._settings), 60))
            rules = self._project[bucket] = (*self._project[None], *more)
        return rules or ()

    async def _fill(self, drawn: _Drawn) -> list[_Bucket] | None:
        """Lease until every bucket has requests left; None when the counter is unreachable.

        Raises RateLimitExceeded when a bucket is exhausted.
        """
        while True:
            buckets = self._buckets_of(drawn)
            empty = next((each for each in buckets if each.left < 1), None)
            if empty is None:
                return buckets
            if empty.exhausted:
                raise self._refusal(empty)
            if not await self._lease(empty):
                return None

    async def _lease(self, bucket: _Bucket) -> bool:
        """Wait for the bucket's next lease. The process requests one lease of a bucket at a time.

        Returns False when the counter is unreachable.
        """
        if time.monotonic() < self._rest_until:
            return False
        bucket.waiting += 1
        try:
            if bucket.task is None:
                bucket.task = asyncio.create_task(self._ask(bucket), name="rate-lease")
            task = bucket.task
            await asyncio.wait((task,), timeout=self._patience)
        finally:
            bucket.waiting -= 1
        if not task.done():
            self._rest_until = time.monotonic() + _REST_SECONDS
            return False
        return task.result()

    async def _ask(self, bucket: _Bucket) -> bool:
        rule, window, owed = bucket.rule, bucket.window, bucket.owed
        size = max(1, bucket.waiting, (bucket.spent + bucket.previous) // _LEASE_SHARE)
        try:
            async with self._database.acquire() as connection:
                asked = (bucket.key, window, owed + size, rule.limit)
                used: int | None = await connection.fetchval(LEASE, *asked)
                if not 0 <= window - self._swept < _FORGET_SECONDS:
                    self._swept = window
                    await connection.execute(FORGET, window - _FORGET_SECONDS)
        except (Unavailable, *DATABASE_AWAY, asyncpg.PostgresError) as error:
            _log.warning("rate_limit.unreachable", error=type(error).__name__)
            self._rest_until = time.monotonic() + _REST_SECONDS
            return False
        finally:
            bucket.task = None
        self._rest_until = 0.0  # the counter answers, even if late
        if window != bucket.window:
            return True  # too late for that window; waiting requests ask again
        if used is None:
            bucket.exhausted, bucket.known = True, rule.limit
        else:
            bucket.known, bucket.owed = used, 0
            bucket.left += max(0, min(size, rule.limit - (used - size)))
        return True

    def _refusal(self, bucket: _Bucket) -> RateLimitExceeded:
        REFUSED.labels(bucket.rule.name).inc()
        wait = max(1, math.ceil(bucket.reset - self._clock.now().timestamp()))
        described = f"{bucket.rule.limit} per {'second' if bucket.rule.seconds == 1 else 'minute'}"
        headers = [(name.decode(), value.decode()) for name, value in _headers([bucket])]
        return RateLimitExceeded(
            f"Too many requests: the limit here is {described}. Repeat this in {wait} s.",
            headers=(("Retry-After", str(wait)), *headers),
        )


@asynccontextmanager
async def open_limiter(
    settings: Settings, dsn: str, clock: Clock, holders: Mapping[ActorKind, RateLimit]
) -> AsyncGenerator[RateLimiter | Unlimited]:
    """The limiter that the settings ask for; its counters are in the database of `dsn`.

    The counter has connections of its own, because it must not wait behind the requests that it limits.
    Raises what `Database.open` raises when the database is unavailable.
    """
    if not settings.rate_limits_on:
        yield Unlimited()
        return
    database = Database(dsn, max_size=2, pooled=is_pooled(settings))
    await database.open()
    try:
        yield RateLimiter(settings, database, clock, holders, patience=PATIENCE_SECONDS)
    finally:
        await database.close()


def _own_rule(bucket: RateLimit, settings: Settings) -> _Rule:
    limit = bucket.per_minute(settings)
    return _Rule(bucket.name, limit, 60, credit=limit // _CREDIT_SHARE)


def _active(*rules: _Rule) -> tuple[_Rule, ...]:
    return tuple(replace(rule, shown=b"%d" % rule.limit) for rule in rules if rule.limit > 0)


def _headers(buckets: list[_Bucket]) -> Headers:
    """The headers of the bucket with the least left; the reset is in Unix seconds."""
    if not buckets:
        return ()
    tightest = buckets[0]
    remaining = tightest.remaining
    for bucket in buckets[1:]:
        if bucket.remaining < remaining:
            tightest, remaining = bucket, bucket.remaining
    return (
        (b"x-ratelimit-limit", tightest.rule.shown),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % tightest.reset),
    )
