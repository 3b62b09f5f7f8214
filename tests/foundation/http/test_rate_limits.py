"""Limits that hold over several processes, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import msgspec
import pytest

from lapel.foundation.core.actors import Actor, ActorKind
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import RateLimitExceeded
from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.database.pool import Database
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import NoBody
from lapel.foundation.http.operations import Operation
from lapel.foundation.http.rate_limits import PATIENCE_SECONDS, UNREACHABLE, RateLimiter, Unlimited
from lapel.foundation.http.routes import Routes
from lapel.foundation.ports import Ports
from lapel.settings import Settings

START = datetime(2026, 1, 15, 12, 0, 0, 300_000, tzinfo=UTC)


async def _nothing(_call: object) -> NoBody:
    return NoBody()


UPLOAD_URLS = RateLimit("upload_url", lambda settings: settings.upload_urls_per_minute)
HOLDERS = {"device": RateLimit("device", lambda settings: settings.device_per_minute)}
_THINGS = Routes("", read=Access("recordings:read"), write=Access("recordings:write"))
READ = _THINGS.get("/v1/things", "list_things", NoBody).plain("", _nothing)
UPLOAD = _THINGS.post("/v1/things", "upload_thing", NoBody).plain("", _nothing, bucket=UPLOAD_URLS)


def caller(kind: ActorKind = "key", world: int = 1, id_: str = "key_1") -> Actor:
    token_hash = id_.encode() if kind == "device" else b""
    return Actor(kind=kind, id=id_, world_id=world, project_id="proj_1", mode="test", token_hash=token_hash)


def device_bucket(id_: str) -> str:
    return f"device:1:{id_}"


@dataclass
class Processes:
    """Limiters that share one database as so many processes do."""

    database: Database
    clock: ManualClock

    def make(self, patience: float = 60.0, **limits: int) -> RateLimiter:
        """A limiter that waits for the counter as long as a busy machine needs."""
        values = {
            "rate_per_second": 0,
            "rate_per_minute": 0,
            "upload_urls_per_minute": 0,
            "transcriptions_per_minute": 0,
            "device_per_minute": 0,
            **limits,
        }
        return RateLimiter(
            Settings.from_env({}, **values), self.database, self.clock, HOLDERS, patience=patience
        )

    async def used(self, bucket: str) -> int | None:
        async with self.database.acquire() as connection:
            value: int | None = await connection.fetchval(
                "SELECT sum(used)::bigint FROM rate_windows WHERE bucket = $1", bucket
            )
        return value

    async def execute(self, statement: str) -> None:
        async with self.database.acquire() as connection:
            await connection.execute(statement)


@pytest.fixture
async def processes(ports: Ports) -> Processes:
    made = Processes(ports.database, ManualClock(START))
    await made.execute("TRUNCATE rate_windows")
    return made


@pytest.fixture
async def apart(fresh_database: str) -> AsyncGenerator[Processes]:
    """With a database whose counter may be spoilt."""
    database = Database(fresh_database, min_size=1, max_size=4)
    await database.open()
    yield Processes(database, ManualClock(START))
    await database.close()


async def passes(limiter: RateLimiter, actor: Actor, operation: Operation = READ) -> bool:
    try:
        await limiter.take(actor, operation)
    except RateLimitExceeded:
        return False
    return True


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("limit", [10, 30, 100, 1000])
async def test_two_processes_together_keep_the_limit_within_a_tenth(
    processes: Processes, limit: int, share: float
) -> None:
    both = [processes.make(rate_per_minute=limit), processes.make(rate_per_minute=limit)]
    random = Random(f"{limit} {share}")
    for minute in range(3):
        passed = 0
        for _ in range(2 * limit):
            passed += await passes(both[random.random() > share], caller())
        assert 0.9 * limit <= passed <= limit, f"minute {minute}"
        processes.clock.advance(timedelta(minutes=1))


async def test_the_limit_holds_when_the_traffic_moves_to_another_process(processes: Processes) -> None:
    both = [processes.make(rate_per_minute=1000), processes.make(rate_per_minute=1000)]
    for minute in range(4):
        # The first one is busy until it holds large leases, then all goes to the second.
        passed = sum([await passes(both[minute % 2], caller()) for _ in range(500)])
        passed += sum([await passes(both[1 - minute % 2], caller()) for _ in range(1000)])
        assert 900 <= passed <= 1000
        processes.clock.advance(timedelta(minutes=1))


async def test_many_at_once_never_pass_the_limit(processes: Processes) -> None:
    many = [processes.make(rate_per_minute=100) for _ in range(4)]
    answers = await asyncio.gather(*(passes(many[at % 4], caller()) for at in range(400)))
    assert 90 <= sum(answers) <= 100


async def test_a_full_window_costs_few_writes(apart: Processes) -> None:
    limiter = apart.make(rate_per_minute=1000)
    for _ in range(1000):
        assert await passes(limiter, caller())
    apart.clock.advance(timedelta(minutes=1))
    await apart.execute("CREATE TABLE writes (one integer)")
    await apart.execute(
        "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO writes VALUES (1); RETURN NEW; END $$"
    )
    await apart.execute(
        "CREATE TRIGGER count_writes AFTER INSERT OR UPDATE ON rate_windows "
        "FOR EACH ROW EXECUTE FUNCTION count_write()"
    )
    for _ in range(2000):
        await passes(limiter, caller())
    async with apart.database.acquire() as connection:
        writes: int = await connection.fetchval("SELECT count(*) FROM writes")
    assert 10 <= writes <= 30


async def test_what_is_used_up_comes_back_with_the_next_window(processes: Processes) -> None:
    limiter = processes.make(rate_per_second=2)
    assert [await passes(limiter, caller()) for _ in range(3)] == [True, True, False]
    processes.clock.advance(timedelta(milliseconds=699))
    assert not await passes(limiter, caller())
    processes.clock.advance(timedelta(milliseconds=1))
    assert await passes(limiter, caller())


async def test_headers_tell_of_the_tightest_bucket(processes: Processes) -> None:
    limiter = processes.make(rate_per_second=100, rate_per_minute=1000, upload_urls_per_minute=3)
    reset = int(START.replace(second=0, microsecond=0).timestamp()) + 60
    assert dict(await limiter.take(caller(), READ)) == {
        b"x-ratelimit-limit": b"100",
        b"x-ratelimit-remaining": b"99",
        b"x-ratelimit-reset": str(int(START.timestamp()) + 1).encode(),
    }
    assert dict(await limiter.take(caller(), UPLOAD)) == {
        b"x-ratelimit-limit": b"3",
        b"x-ratelimit-remaining": b"2",
        b"x-ratelimit-reset": str(reset).encode(),
    }


async def test_a_refusal_says_when_to_come_back(processes: Processes) -> None:
    limiter = processes.make(rate_per_minute=1)
    await limiter.take(caller(), READ)
    with pytest.raises(RateLimitExceeded, match="1 per minute") as refused:
        await limiter.take(caller(), READ)
    assert {name.lower(): value for name, value in refused.value.headers} == {
        "retry-after": "60",
        "x-ratelimit-limit": "1",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(START.replace(microsecond=0).timestamp()) + 60),
    }


async def test_a_refused_upload_does_not_use_up_the_other_buckets(processes: Processes) -> None:
    limiter = processes.make(rate_per_minute=5, upload_urls_per_minute=1)
    assert await passes(limiter, caller(), UPLOAD)
    for _ in range(10):
        assert not await passes(limiter, caller(), UPLOAD)
    assert [await passes(limiter, caller()) for _ in range(5)] == [True] * 4 + [False]


async def test_each_device_has_a_bucket_and_none_draws_on_the_projects(processes: Processes) -> None:
    limiter = processes.make(rate_per_minute=1, upload_urls_per_minute=1, device_per_minute=2)
    for device in ("dev_1", "dev_2"):
        answers = [await passes(limiter, caller("device", id_=device), UPLOAD) for _ in range(3)]
        assert answers == [True, True, False]
    assert await passes(limiter, caller())


async def test_a_fleet_that_calls_now_and_then_writes_nothing(processes: Processes) -> None:
    limiter = processes.make(device_per_minute=60)
    for number in range(30):
        for call in range(3):
            headers = dict(await limiter.take(caller("device", id_=f"dev_{number}"), READ))
            assert headers[b"x-ratelimit-remaining"] == b"%d" % (59 - call)
    assert await processes.used(device_bucket("dev_0")) is None
    assert await passes(limiter, caller("device", id_="dev_0"))
    assert await processes.used(device_bucket("dev_0")) == 4  # what was not counted before is counted then


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
async def test_a_device_keeps_its_limit_within_a_tenth_over_two_processes(
    processes: Processes, share: float
) -> None:
    both = [processes.make(device_per_minute=60), processes.make(device_per_minute=60)]
    random = Random(f"device {share}")
    for minute in range(3):
        passed = 0
        for _ in range(150):
            passed += await passes(both[random.random() > share], caller("device", id_="dev_1"))
        assert 54 <= passed <= 66, minute
        processes.clock.advance(timedelta(minutes=1))


@pytest.mark.parametrize("refreshing", [True, False])
async def test_all_tokens_of_a_device_have_one_limit(processes: Processes, refreshing: bool) -> None:
    both = [processes.make(device_per_minute=20), processes.make(device_per_minute=20)]
    operation = replace(READ, access=replace(READ.access, refreshing_tokens=refreshing))
    passed = 0
    for number in range(60):
        device = msgspec.structs.replace(caller("device", id_="dev_1"), token_hash=b"token %d" % number)
        passed += await passes(both[number % 2], device, operation)
        assert await passes(both[0], caller("device", id_=f"dev_other_{number}"))
    assert 18 <= passed <= 22


async def test_a_token_draws_on_its_device_once_it_was_found_good(processes: Processes) -> None:
    limiter = processes.make(device_per_minute=5)
    assert await limiter.take_known(b"dev_1") is None
    assert await passes(limiter, caller("device", id_="dev_1"))
    known = await limiter.take_known(b"dev_1")
    assert known is not None
    assert dict(known)[b"x-ratelimit-remaining"] == b"3"
    assert await limiter.take_known(b"dev_2") is None


async def test_a_token_that_nobody_has_takes_no_room(processes: Processes) -> None:
    limiter = processes.make(device_per_minute=2)
    for number in range(50):
        for _ in range(10):
            assert await limiter.take_known(b"invented %d" % number) is None
    assert not limiter._buckets
    async with processes.database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM rate_windows") == 0


@pytest.mark.parametrize("kind", ["upload", "end_user"])
async def test_other_tokens_draw_on_the_project(processes: Processes, kind: ActorKind) -> None:
    limiter = processes.make(rate_per_minute=2)
    assert await passes(limiter, caller(kind, id_="x_1"))
    assert await passes(limiter, caller())
    assert not await passes(limiter, caller(kind, id_="x_2"))


async def test_worlds_do_not_share_a_bucket(processes: Processes) -> None:
    limiter = processes.make(rate_per_minute=1)
    assert await passes(limiter, caller(world=1))
    assert await passes(limiter, caller(world=2))
    assert not await passes(limiter, caller(world=1))


async def test_zero_is_no_limit(processes: Processes) -> None:
    limiter = processes.make()
    for _ in range(50):
        assert await limiter.take(caller(), UPLOAD) == ()
    assert await processes.used("minute:1:") is None


async def test_unlimited_answers_without_headers() -> None:
    assert await Unlimited().take(caller(), READ) == ()


async def test_requests_pass_and_are_counted_while_the_counter_is_gone(apart: Processes) -> None:
    limiter = apart.make(rate_per_minute=1)
    await apart.execute("ALTER TABLE rate_windows RENAME TO hidden")
    before = UNREACHABLE._value.get()
    for _ in range(5):
        assert await limiter.take(caller(), READ) == ()
    assert UNREACHABLE._value.get() == before + 5


async def test_requests_pass_while_the_counter_is_slow(apart: Processes) -> None:
    limiter = apart.make(rate_per_minute=1, patience=PATIENCE_SECONDS)
    blocker: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(apart.database.dsn)
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE rate_windows IN ACCESS EXCLUSIVE MODE")
            before = UNREACHABLE._value.get()
            assert await limiter.take(caller(), READ) == ()
            assert await limiter.take(caller(), READ) == ()
            assert UNREACHABLE._value.get() == before + 2
    finally:
        await blocker.close()


async def test_old_windows_are_swept_and_old_buckets_forgotten(processes: Processes) -> None:
    limiter = processes.make(device_per_minute=10)
    for number in range(50):
        assert await passes(limiter, caller("device", id_=f"dev_{number}"))
    for minute in range(5):
        processes.clock.advance(timedelta(minutes=1))
        assert await passes(limiter, caller("device", id_=f"dev_late_{minute}"))
    assert await processes.used(device_bucket("dev_0")) is None
    assert len(limiter._buckets) + len(limiter._older) <= 5


async def test_memory_is_bounded_whatever_calls(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel.foundation.http.rate_limits._CAPACITY", 20)
    limiter = processes.make(device_per_minute=2)
    for number in range(100):
        assert await passes(limiter, caller("device", id_=f"dev_{number}"))
    assert len(limiter._buckets) + len(limiter._older) <= 40
    for number in range(100):  # of one device, which has no more buckets for it
        device = msgspec.structs.replace(caller("device", id_="dev_1"), token_hash=b"%d" % number)
        await passes(limiter, device)
    assert len(limiter._devices) <= 20
