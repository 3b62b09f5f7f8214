"""The rules without a database: when to repeat, when the circuit opens, and who gets the places."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.webhooks.delivery.posting.attempt_faults import told
from lapel.slices.webhooks.delivery.posting.retry_schedule import WAITS, asked_wait, wait_after
from lapel.slices.webhooks.delivery.settling.circuit import (
    OPENS_AFTER,
    AttemptEnd,
    Circuit,
    after_attempts,
)
from lapel.slices.webhooks.delivery.webhook_places import ALL, OF_WEBHOOK, WebhookPlaces

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
MINUTE, HOUR = 60, 3600
FAILED = AttemptEnd(False)
HEALTHY = Circuit(0, None, None, NOW)
NEW = Circuit(0, None, None, None)


def test_the_schedule_is_that_of_the_contract() -> None:
    exact = [wait_after(tries, None, lambda: 0.0) for tries in range(1, 9)]
    assert exact == [
        MINUTE,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        8 * HOUR,
        10 * HOUR,
        10 * HOUR,
        None,
    ]


@given(st.integers(1, 7), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 86400))
def test_no_attempt_comes_early(tries: int, chance: float, asked: float | None) -> None:
    wait = wait_after(tries, asked, lambda: chance)
    assert wait is not None
    assert wait >= max(WAITS[tries - 1], asked or 0)
    assert wait <= max(WAITS[tries - 1] * 1.1, asked or 0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 120 "}, 120),
        ({"Retry-After": "86401"}, 86400),
        ({"Retry-After": "9" * 5000}, 86400),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sat, 28 Nov 2026 12:10:00 GMT"}, 600),
        ({"Retry-After": "Sat, 28 Nov 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "Sat, 28 Nov 2037 11:00:00 GMT"}, 86400),
        # The receiver's clock is an hour ahead.
        ({"Retry-After": "Sat, 28 Nov 2026 13:10:00 GMT", "Date": "Sat, 28 Nov 2026 13:00:00 GMT"}, 600),
        ({"Retry-After": "Sat, 99 Nov 2026 13:10:00 GMT"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, NOW) == seconds


@given(st.text())
def test_no_retry_after_fails(text: str) -> None:
    asked = asked_wait({"Retry-After": text, "Date": text}, NOW)
    assert asked is None or 0 <= asked <= 86400


def test_ten_failures_open_the_circuit_and_each_failed_probe_doubles_the_pause() -> None:
    circuit = after_attempts(HEALTHY, [FAILED] * (OPENS_AFTER - 1), NOW, lambda: 1.0)
    assert circuit == Circuit(9, NOW, None, NOW)
    # What was on its way when the circuit opened changes nothing.
    circuit = after_attempts(circuit, [FAILED] * 50, NOW, lambda: 1.0)
    pauses = [circuit]
    for _ in range(6):
        circuit = after_attempts(circuit, [AttemptEnd(False, probe=True)], NOW, lambda: 1.0)
        pauses.append(circuit)
    seconds = [(each.paused_until - NOW).total_seconds() for each in pauses if each.paused_until]
    assert seconds == [5, 10, 20, 40, 60, 60, 60]
    assert after_attempts(circuit, [AttemptEnd(True, probe=True)], NOW, lambda: 1.0) == HEALTHY


def test_one_failure_opens_the_circuit_of_a_webhook_that_is_not_verified_until_its_first_success() -> None:
    circuit, pauses = NEW, list[float]()
    for _ in range(6):
        circuit = after_attempts(circuit, [AttemptEnd(False, probe=True)], NOW, lambda: 1.0)
        assert circuit.paused_until is not None
        assert circuit.verified_at is None
        pauses.append((circuit.paused_until - NOW).total_seconds())
    assert pauses == [5, 10, 20, 40, 60, 60]
    later = NOW + timedelta(days=1)
    for probe in (True, False):
        verified = after_attempts(circuit, [AttemptEnd(True, probe=probe)], later, lambda: 1.0)
        assert verified == Circuit(0, None, None, later)
        assert verified.has_ended_outage(circuit)
    assert not HEALTHY.has_ended_outage(Circuit(9, NOW, None, NOW))
    assert HEALTHY.has_ended_outage(Circuit(10, NOW, NOW, NOW))


@given(st.lists(st.tuples(st.booleans(), st.booleans())), st.floats(0, 1))
def test_a_circuit_is_healthy_exactly_after_a_success(ends: list[tuple[bool, bool]], chance: float) -> None:
    circuit = after_attempts(HEALTHY, [AttemptEnd(*end) for end in ends], NOW, lambda: chance)
    assert (circuit == HEALTHY) == (not ends or ends[-1][0])
    assert (circuit.paused_until is not None) == (circuit.failures >= OPENS_AFTER)
    assert (circuit.failing_since is not None) == (circuit.failures > 0)
    if circuit.paused_until is not None:
        assert 4 <= (circuit.paused_until - NOW).total_seconds() <= 60


def test_a_receiver_gets_the_pause_that_it_asks_for() -> None:
    asking = AttemptEnd(False, pause_seconds=600)
    circuit = after_attempts(HEALTHY, [FAILED, asking, AttemptEnd(False, pause_seconds=30)], NOW, lambda: 1.0)
    assert circuit == Circuit(2, NOW, NOW + timedelta(minutes=10), NOW)
    # What was on its way neither ends the pause nor counts; a probe that succeeds ends it.
    assert after_attempts(circuit, [AttemptEnd(True), FAILED], NOW, lambda: 1.0).paused_until is not None
    assert after_attempts(circuit, [AttemptEnd(True, probe=True)], NOW, lambda: 1.0) == HEALTHY
    longer = after_attempts(circuit, [AttemptEnd(False, True, 3600)], NOW, lambda: 1.0)
    assert longer == Circuit(3, NOW, NOW + timedelta(hours=1), NOW)


def test_a_webhook_is_given_up_after_five_days() -> None:
    for days, given_up in ((4.99, False), (5, True)):
        assert Circuit(9, NOW - timedelta(days=days), None, NOW).may_be_given_up(NOW) is given_up
    assert not HEALTHY.may_be_given_up(NOW)


@given(st.lists(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abcdef")), unique=True), max_size=30))
def test_places_are_never_too_many_and_one_is_left_for_others(
    looks: list[list[tuple[int, str]]],
) -> None:
    """Every look fills all the rooms that it is given, and nothing ends."""
    places, taken = WebhookPlaces(), Counter[tuple[int, str]]()
    for webhooks in looks:
        rooms = places.rooms(webhooks)
        assert sum(room for *_, room in rooms) <= min(ALL - taken.total(), max(256, len(webhooks)))
        for world_id, webhook_id, room in rooms:
            taken[world_id, webhook_id] += room
            for _ in range(room):
                places.take((world_id, webhook_id))
    assert max(taken.values(), default=0) <= OF_WEBHOOK
    # Four worlds leave a sixteenth of all places, and a new webhook gets some of them.
    assert ALL - taken.total() >= ALL // 16 - 4
    assert places.rooms([(5, "new")])[0][2] >= 1


def test_slow_webhooks_of_one_world_leave_places_to_its_others_and_to_other_worlds() -> None:
    places, taken = WebhookPlaces(), 0
    for number in range(1000):
        for world_id, webhook_id, room in places.rooms([(1, f"slow{number}")]):
            taken += room
            for _ in range(room):
                places.take((world_id, webhook_id))
    assert taken <= ALL // 2
    assert places.rooms([(2, "good")]) == [(2, "good", OF_WEBHOOK)]


def test_slow_webhooks_of_one_world_get_all_its_places_in_several_looks() -> None:
    places, webhooks, looks = WebhookPlaces(), [(1, f"slow{number}") for number in range(50)], list[int]()
    while rooms := places.rooms(webhooks):
        looks.append(sum(room for *_, room in rooms))
        for world_id, webhook_id, room in rooms:
            for _ in range(room):
                places.take((world_id, webhook_id))
    assert max(looks) <= 256
    assert sum(looks) > ALL // 2 - 50


@given(st.integers(1, 150), st.integers(1, 150))
def test_no_webhook_goes_without_while_its_world_has_places(under_way: int, waiting: int) -> None:
    """Deliveries that are under way make their webhooks due too, and those take nothing."""
    places, webhooks = WebhookPlaces(), [(1, f"wh_{number:03}") for number in range(under_way + waiting)]
    for webhook in webhooks[:under_way]:
        places.take(webhook)
    given_rooms = {webhook_id for _, webhook_id, _ in places.rooms(webhooks)}
    assert {webhook_id for _, webhook_id in webhooks[under_way:]} <= given_rooms


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"))))
def test_what_is_given_back_is_free_again(taken: list[tuple[int, str]]) -> None:
    places = WebhookPlaces()
    for webhook in taken:
        places.take(webhook)
    for webhook in taken:
        assert not places.idle(webhook)
        places.give_back(webhook)
    assert all(places.idle(webhook) for webhook in taken)
    webhooks = [(number, "new") for number in range(ALL)]
    assert places.rooms(webhooks) == WebhookPlaces().rooms(webhooks)


def test_a_sentence_about_a_fault_fits_into_a_row() -> None:
    assert told(RuntimeError("\0" * 10)) == "the connection broke"
    assert len(told(ValueError("x" * 1000))) <= 200
