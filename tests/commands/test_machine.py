"""Random calls in random order against a whole server, compared with a small model after each of them.

LAPEL_STATEFUL_EXAMPLES says how many walks, LAPEL_STATEFUL_STEPS how long each may be.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from tests.stateful.background import Background, background, rolls_dice
from tests.stateful.caller import Caller
from tests.support.postgres import create_database

pytestmark = pytest.mark.deep

EXAMPLES = int(os.environ.get("LAPEL_STATEFUL_EXAMPLES", "3"))
STEPS = int(os.environ.get("LAPEL_STATEFUL_STEPS", "30"))
# What can happen; the walk by hand goes through all of it, whatever the random ones meet.
EVENTS = {
    *(("cancel", status) for status in ("pending", "delivered", "executed", "expired", "cancelled")),
    *(("report", status) for status in ("pending", "delivered", "same", "other", "expired", "cancelled")),
    *(("poll", status) for status in ("pending", "delivered", "expired", "cancelled")),
    *(("tell", told) for told in ("new", "again", "otherwise", "unbound")),
    ("unbind", "open"),
    ("report", "foreign"),
    ("report", "earlier binding"),
}
STATUSES = ("pending", "delivered", "executed", "failed", "expired", "cancelled")

# Which of the commands, counted from the newest: the older ones have ended.
recent = st.integers(0, 4)
types = st.sampled_from(["start_recording", "stop_recording", "trigger_upload"])
ttls = st.sampled_from([30, 60, 300])
keys = st.sampled_from([None, None, "a", "b"])
results = st.sampled_from([None, {}, {"n": 1}])
numbers = count(1)


@dataclass
class Told:
    """A command as the model knows it; `status` is what is stored."""

    id: str
    device: str
    type: str
    key: str | None
    expires_at: datetime
    status: str = "pending"
    # Of which of its device's bindings.
    binding: int = 0
    said: tuple[str, Any] | None = None

    def shown(self, now: datetime) -> str:
        """The status that the clock makes of it."""
        return (
            "expired" if self.status in ("pending", "delivered") and self.expires_at <= now else self.status
        )

    def is_open(self, now: datetime) -> bool:
        """Whether the device may still do it."""
        return self.shown(now) in ("pending", "delivered")


@dataclass
class Worn:
    """A device as the model knows it."""

    token: str | None = None
    binding: int = 0
    dead: list[str] = field(default_factory=list[str])


class Machine(RuleBasedStateMachine):
    """Two devices of one project."""

    served: ClassVar[Background]
    call: ClassVar[Caller]
    clock: ClassVar[ManualClock]
    seen: ClassVar[Counter[tuple[str, str]]] = Counter()

    @initialize()
    def begin(self) -> None:
        self.key = self.served.tenant().test_key
        self.person = self.call("POST", "/end-users", self.key, {}).json()["id"]
        self.devices: dict[str, Worn] = {}
        self.told: list[Told] = []
        for _ in range(2):
            body = {"serial_number": f"SN{next(numbers):06d}"}
            self.devices[self.call("POST", "/devices", self.key, body).json()["id"]] = Worn()
        for number in range(2):
            self.bind(number)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def command(self, back: int) -> Told:
        return self.told[-1 - back % len(self.told)]

    def device(self, number: int) -> tuple[str, Worn]:
        return list(self.devices.items())[number % len(self.devices)]

    # ---- bindings -------------------------------------------------------------------------------

    @rule(number=st.integers(0, 1))
    def bind(self, number: int) -> None:
        device_id, worn = self.device(number)
        answer = self.call("POST", f"/devices/{device_id}/bind", self.key, {"end_user_id": self.person})
        assert answer.status_code == (200 if worn.token is None else 409)
        if worn.token is None:
            worn.token = answer.json()["device_token"]
            worn.binding += 1

    @rule(number=st.integers(0, 1), again=st.sampled_from([True, True, True, False]))
    def unbind(self, number: int, again: bool) -> None:
        device_id, worn = self.device(number)
        assert self.call("POST", f"/devices/{device_id}/unbind", self.key).status_code == 200
        if worn.token is not None:
            worn.dead.append(worn.token)
            worn.token = None
            for each in self.told:
                if each.device == device_id and each.is_open(self.now):
                    each.status = "cancelled"
                    self.seen["unbind", "open"] += 1
        if again:
            self.bind(number)

    # ---- commands -------------------------------------------------------------------------------

    @rule(number=st.sampled_from([0, 0, 0, 1]), kind=types, ttl=ttls, key=keys)
    def tell(self, number: int, kind: str, ttl: int, key: str | None) -> None:
        device_id, worn = self.device(number)
        body = {"type": kind, "ttl_seconds": ttl, "idempotency_key": key}
        answer = self.call("POST", f"/devices/{device_id}/commands", self.key, body)
        known = [each for each in self.told if key and (each.device, each.key) == (device_id, key)]
        if known and known[0].type == kind:
            self.seen["tell", "again"] += 1
            shown = {"id": known[0].id, "status": known[0].shown(self.now)}
            assert (answer.status_code, shown.items() <= answer.json().items()) == (200, True)
        elif known:
            self.seen["tell", "otherwise"] += 1
            assert answer.status_code == 422
        elif worn.token is None:
            self.seen["tell", "unbound"] += 1
            assert answer.status_code == 409
        else:
            self.seen["tell", "new"] += 1
            assert answer.status_code == 201
            expires_at = self.now + timedelta(seconds=ttl)
            new = Told(answer.json()["id"], device_id, kind, key, expires_at, binding=worn.binding)
            self.told.append(new)

    @rule(number=st.sampled_from([0, 0, 0, 1]))
    def poll(self, number: int) -> None:
        device_id, worn = self.device(number)
        if worn.token is None:
            return
        answer = self.call("GET", f"/devices/{device_id}/commands/pending", worn.token)
        assert answer.status_code == 200
        own = [each for each in self.told if each.device == device_id]
        self.seen.update(("poll", each.shown(self.now)) for each in own)
        due = [each for each in own if each.is_open(self.now)]
        for each in due:
            each.status = "delivered"
        shown = [(each["id"], each["status"]) for each in answer.json()["data"]]
        assert shown == [(each.id, "delivered") for each in due]

    @rule(
        back=recent,
        status=st.sampled_from(["executed", "executed", "failed"]),
        result=results,
        own=st.sampled_from([True, True, True, False]),
    )
    def report(self, back: int, status: str, result: Any, own: bool) -> None:
        """By the command's device, or by the other one."""
        if not self.told:
            return
        each = self.command(back)
        reporter = each.device if own else next(other for other in self.devices if other != each.device)
        token = self.devices[reporter].token
        if token is None:
            return
        body = {"status": status, "result": result}
        answer = self.call("POST", f"/devices/me/commands/{each.id}/ack", token, body)
        before = each.shown(self.now)
        if not own:
            self.seen["report", "foreign"] += 1
            assert answer.status_code == 404
        elif each.binding != self.devices[reporter].binding:
            self.seen["report", "earlier binding"] += 1
            assert answer.status_code == 404
        elif each.is_open(self.now):
            self.seen["report", before] += 1
            each.status, each.said = status, (status, result)
            assert (answer.status_code, answer.json()["status"]) == (200, status)
        else:
            same = each.said == (status, result)
            self.seen["report", before if each.said is None else "same" if same else "other"] += 1
            assert answer.status_code == (200 if same else 409)

    @rule(back=recent)
    def report_again(self, back: int) -> None:
        """The answer was lost."""
        said = self.command(back).said if self.told else None
        if said is not None:
            self.report(back, said[0], said[1], own=True)

    @rule(back=recent)
    def cancel(self, back: int) -> None:
        if not self.told:
            return
        each = self.command(back)
        answer = self.call("DELETE", f"/devices/{each.device}/commands/{each.id}", self.key)
        before = each.shown(self.now)
        self.seen["cancel", before] += 1
        if before == "pending":
            each.status = "cancelled"
            assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        else:
            assert answer.status_code == 409

    @rule(seconds=st.sampled_from([1, 10, 29, 30, 240]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    # ---- what is shown --------------------------------------------------------------------------

    @invariant()
    def the_server_shows_the_model(self) -> None:
        if not hasattr(self, "told"):
            return
        for device_id, worn in self.devices.items():
            own = [each for each in reversed(self.told) if each.device == device_id]
            assert self.listed(device_id, "") == [(each.id, each.shown(self.now)) for each in own]
            for token in worn.dead[-1:]:
                path = f"/devices/{device_id}/commands/pending"
                assert self.call("GET", path, token).status_code == 401

    def teardown(self) -> None:
        if not hasattr(self, "told"):
            return
        for device_id in self.devices:
            for status in STATUSES:
                expected = [
                    (each.id, status)
                    for each in reversed(self.told)
                    if each.device == device_id and each.shown(self.now) == status
                ]
                assert self.listed(device_id, f"&status={status}") == expected

    def listed(self, device_id: str, query: str) -> list[tuple[str, str]]:
        """Every page."""
        path, found = f"/devices/{device_id}/commands?limit=5{query}", list[tuple[str, str]]()
        cursor: str | None = ""
        while cursor is not None:
            answer = self.call("GET", f"{path}&cursor={cursor}" if cursor else path, self.key).json()
            found += [(each["id"], each["status"]) for each in answer["data"]]
            cursor = answer["next_cursor"]
        return found


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))


@pytest.fixture
def served(postgres: EmbeddedPostgres, tmp_path: Path, clock: ManualClock) -> Generator[Background]:
    url = create_database(postgres, f"commands_{next(numbers)}", "template")
    with background(tmp_path, url, clock=clock) as started:
        yield started


@pytest.fixture
def machine(served: Background, clock: ManualClock) -> Generator[type[Machine]]:
    Machine.served, Machine.clock = served, clock
    Machine.call = Caller(served.live.url)
    yield Machine
    Machine.call.close()


def test_a_walk_by_hand_meets_everything(machine: type[Machine]) -> None:
    machine.seen.clear()
    walk = machine()
    walk.begin()
    walk.tell(0, "start_recording", 300, "a")
    walk.tell(0, "start_recording", 60, "a")
    walk.tell(0, "stop_recording", 60, "a")
    walk.poll(0)
    walk.cancel(0)
    walk.report(0, "failed", None, own=False)
    walk.poll(0)
    walk.report(0, "executed", {"n": 1}, own=True)
    walk.report_again(0)
    walk.report(0, "executed", {}, own=True)
    walk.cancel(0)
    walk.tell(0, "start_recording", 30, None)
    walk.cancel(0)
    walk.cancel(0)
    walk.report(0, "executed", None, own=True)
    walk.poll(0)
    walk.tell(0, "trigger_upload", 60, None)
    walk.report(0, "failed", None, own=True)
    for ttl in (30, 30, 60):
        walk.tell(0, "start_recording", ttl, None)
    walk.report(1, "executed", {}, own=True)
    walk.poll(0)
    walk.wait(30)
    walk.cancel(1)
    walk.the_server_shows_the_model()
    walk.cancel(2)
    walk.tell(0, "start_recording", 30, None)
    walk.wait(30)
    walk.cancel(0)
    walk.report(0, "executed", None, own=True)
    walk.poll(0)
    walk.tell(0, "start_recording", 30, None)
    walk.unbind(0, again=False)
    walk.tell(0, "start_recording", 30, None)
    walk.bind(0)
    walk.report(0, "executed", None, own=True)
    walk.the_server_shows_the_model()
    walk.teardown()
    assert set(machine.seen) >= EVENTS


@rolls_dice
@pytest.mark.timeout(600)
def test_the_server_and_the_model_never_disagree(machine: type[Machine]) -> None:
    machine.seen.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    print(dict(machine.seen))
