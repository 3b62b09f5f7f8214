"""The app keeps the order of calls, loses nothing when it crashes, and takes no answer that is not right."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from lapel.simulate.client.caller import CallFailed, SimulationError
from lapel.simulate.phone.strict_answers import StagingReply, check_staging, is_safe_url
from lapel.simulate.phone.upload_run import PhoneCrashed
from lapel.simulate.sealing.device_refusals import DeviceRefusal
from tests.simulate.fake_cloud import Answer
from tests.simulate.phones import USUAL, Crashing, Phone, Steady


async def test_the_manifest_is_sent_before_the_put_and_the_copy_goes_last(phone: Phone) -> None:
    run = phone.run_of()
    session = await run.run()
    assert phone.cloud.calls == USUAL
    assert phone.firmware.holds(1)
    proof = await run.receipt(session)
    assert phone.firmware.confirm(1, proof) is not None
    assert not phone.firmware.holds(1)
    assert phone.firmware.confirm(1, proof) is None  # the same receipt again
    with pytest.raises(DeviceRefusal, match="a second receipt"):
        phone.firmware.confirm(1, proof[:-1] + b"\0")


async def test_what_is_staged_already_is_not_put_again(phone: Phone) -> None:
    phone.cloud.forced["put"] = ["lost", 503]  # stored; the third attempt stores it again
    await phone.upload()
    assert phone.cloud.calls.count("put") == 3
    assert phone.cloud.calls.count("staging-url") == 1


async def test_after_a_put_that_is_refused_the_next_run_asks_for_another_link(
    phone: Phone,
) -> None:
    phone.cloud.forced["put"] = [403]
    with pytest.raises(CallFailed, match="403"):
        await phone.upload()
    await phone.upload()
    assert phone.cloud.calls == [*USUAL[:5], "session", *USUAL[2:]]


@pytest.mark.parametrize("name", ["manifest", "staging-url", "session"])
async def test_a_call_that_may_be_repeated_is_tried_three_times(phone: Phone, name: str) -> None:
    phone.cloud.forced[name] = [503, "lost" if name == "session" else 429]
    await phone.upload()
    assert phone.cloud.calls.count(name) == USUAL.count(name) + (1 if name == "session" else 2)


@pytest.mark.parametrize("status", [400, 404, 409, 302, 307])
async def test_any_other_refusal_and_a_redirect_are_final(phone: Phone, status: int) -> None:
    phone.cloud.forced["staging-url"] = [status]
    with pytest.raises(CallFailed, match=str(status)):
        await phone.upload()
    assert phone.cloud.calls == USUAL[:4]


@pytest.mark.parametrize("status", [409, 403, 500])
async def test_only_the_refusal_that_says_that_nothing_is_staged_allows_the_put(
    phone: Phone, status: int
) -> None:
    phone.cloud.forced["manifest"] = [status] * 3
    with pytest.raises((CallFailed, SimulationError)):
        await phone.upload()
    assert "put" not in phone.cloud.calls
    assert "staging-url" not in phone.cloud.calls


@pytest.mark.parametrize("unknown", ["lost", 500, 429])
@pytest.mark.parametrize("name", ["recordings", "sessions"])
async def test_a_creation_with_an_unknown_outcome_is_not_repeated_blindly(
    phone: Phone, name: str, unknown: int | str
) -> None:
    phone.cloud.forced[name] = [unknown]
    with pytest.raises(CallFailed):
        await phone.upload()
    assert phone.cloud.calls.count(name) == 1
    await phone.upload()
    assert len(phone.cloud.recordings) == 1
    assert len(phone.cloud.sessions) == 1
    if name == "recordings":
        assert phone.cloud.calls.count(name) == (1 if unknown == "lost" else 2)
        assert phone.cloud.calls[1] == "find"
    else:
        first, second = (body for called, body in phone.cloud.bodies if called == name)
        assert first == second


@pytest.mark.parametrize("name", ["recordings", "sessions"])
async def test_a_creation_that_was_surely_refused_is_made_anew(phone: Phone, name: str) -> None:
    phone.cloud.forced[name] = [401]
    with pytest.raises(CallFailed):
        await phone.upload()
    await phone.upload()
    assert "find" not in phone.cloud.calls


@pytest.mark.parametrize("at", range(1, 20))
async def test_a_crash_after_any_answer_loses_nothing(phone: Phone, at: int) -> None:
    crashes = 0
    try:
        await phone.upload(Crashing(at))
    except PhoneCrashed:
        crashes = 1
    if crashes:
        await phone.upload()
    assert not phone.firmware.holds(1)
    assert len(phone.cloud.recordings) == 1
    published = [each for each in phone.cloud.sessions.values() if each["state"] == "published"]
    assert len(published) == 1


async def test_a_restart_before_the_manifest_recovers_with_the_new_nonce(phone: Phone) -> None:
    phone.cloud.forced["sessions"] = ["lost"]
    with pytest.raises(CallFailed):
        await phone.upload()
    phone.firmware.restart()
    await phone.upload()
    (recovery,) = (body for name, body in phone.cloud.bodies if name == "recover")
    assert (recovery["owner_revision"], recovery["reason"]) == (1, "nonce_changed")
    assert phone.cloud.calls[2:] == ["sessions", "recover", *USUAL[2:]]


@pytest.mark.parametrize("begun", ["", "recovering", "cancelling"])
async def test_a_device_that_was_bound_again_gets_a_new_session(phone: Phone, begun: str) -> None:
    phone.cloud.forced["put"] = [403]
    with pytest.raises(CallFailed):
        await phone.upload()
    if begun:
        note = phone.notes.load(1)
        setattr(note, begun, True)
        phone.notes.save(1, note)
    phone.cloud.generation += 1
    await phone.upload()
    assert phone.cloud.calls == [*USUAL[:5], "session", *USUAL[1:]]
    states = [each["state"] for each in phone.cloud.sessions.values()]
    assert states == ["staging", "published"]


async def test_what_was_accepted_in_an_earlier_binding_is_finished(phone: Phone) -> None:
    phone.cloud.polls = 10_000
    with pytest.raises(CallFailed, match="60 polls"):
        await phone.upload()
    phone.cloud.generation += 1
    phone.cloud.polls = 1
    dice = Steady(1)
    dice.lowest = 0.05  # repeats what it may repeat
    await phone.upload(dice)
    assert phone.cloud.calls.count("sessions") == 1


async def test_an_expired_session_is_recovered_without_a_reason(phone: Phone) -> None:
    phone.cloud.forced["put"] = [403]
    with pytest.raises(CallFailed):
        await phone.upload()
    phone.cloud.now += phone.cloud.lifetime
    await phone.upload()
    (recovery,) = (body for name, body in phone.cloud.bodies if name == "recover")
    assert "reason" not in recovery
    assert sorted(each["revision"] for each in phone.cloud.sessions.values()) == [1, 2]


async def test_a_phone_whose_clock_is_hours_ahead_does_not_recover_for_ever(phone: Phone) -> None:
    phone.tools = phone.tools._replace(clock=lambda: phone.cloud.now + 2 * phone.cloud.lifetime)
    with pytest.raises(CallFailed, match="recovered 3 times"):
        await phone.upload()
    assert phone.cloud.calls.count("recover") == 3
    assert phone.firmware.holds(1)
    phone.tools = phone.tools._replace(clock=lambda: phone.cloud.now)
    await phone.upload()


async def test_an_accepted_manifest_is_never_recovered(phone: Phone) -> None:
    phone.cloud.polls = 10_000
    with pytest.raises(CallFailed, match="60 polls"):
        await phone.upload()
    assert phone.cloud.calls.count("session") == 60
    phone.cloud.now += 2 * phone.cloud.lifetime
    phone.firmware.restart()
    phone.cloud.polls = 1
    await phone.upload()
    assert "recover" not in phone.cloud.calls


def without(name: str) -> Callable[[Answer], object]:
    return lambda answer: {key: value for key, value in answer.items() if key != name}


def having(**fields: Any) -> Callable[[Answer], object]:
    return lambda answer: {**answer, **fields}


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("recordings", having(id="")),
        ("recordings", lambda _: b"[]"),
        ("recordings", having(more="x" * 65_536)),
        ("sessions", having(more="x" * 65_536)),
        ("sessions", having(profile="encrypted_upload_v3")),
        ("sessions", having(owner_revision=1.0)),
        ("sessions", having(owner_revision=2)),
        ("sessions", having(published_at=None)),
        ("sessions", having(project_id="")),
        ("sessions", having(session_id="00112233-4455-6677-8899-AABBCCDDEEFF")),
        ("sessions", having(expires_at="2027-01-15T08:00:00Z")),
        ("sessions", having(state="created")),
        ("sessions", having(state="waiting")),
        ("sessions", having(end_user_id="eu_2")),
        ("sessions", having(ciphertext_length=1)),
        ("sessions", having(authorization_sha256="0" * 64)),
        ("sessions", having(authorization_base64="AAAA")),
        ("sessions", without("staging")),
        ("sessions", without("policy")),
        ("staging-url", having(method="POST")),
        ("staging-url", having(url="http://example.com/x")),
        ("staging-url", having(headers={"Content-Type": "application/octet-stream"})),
        ("manifest", having(owner_revision=2)),
        ("manifest", having(state="staging")),
        ("manifest", lambda _: b""),
        ("manifest", having(session_id="00112233-4455-4677-8899-aabbccddeeff")),
        ("sessions", having(authorization_base64="not base64!")),
        ("sessions", having(authorization_base64="AB==")),
        ("session", having(channel="wifi")),
        ("session", having(state="failed", error={"code": "digest_mismatch", "message": "no"})),
        ("session", having(state="published")),
    ],
)
async def test_an_answer_that_is_not_as_the_contract_says_ends_the_run(
    phone: Phone, name: str, spoil: Callable[[Answer], object]
) -> None:
    phone.cloud.spoil[name] = spoil
    with pytest.raises(SimulationError):
        await phone.upload()
    assert phone.firmware.holds(1)


@pytest.mark.parametrize(
    "spoil", [having(owner_revision=1), having(session_id="00112233-4455-4677-8899-aabbccddeeff")]
)
async def test_a_successor_that_is_not_newer_or_has_another_id_is_not_taken(
    phone: Phone, spoil: Callable[[Answer], object]
) -> None:
    phone.cloud.forced["put"] = [403]
    with pytest.raises(CallFailed):
        await phone.upload()
    phone.cloud.now += phone.cloud.lifetime
    phone.cloud.spoil["recover"] = spoil
    with pytest.raises((SimulationError, DeviceRefusal)):
        await phone.upload()
    assert phone.firmware.holds(1)


@pytest.mark.parametrize(
    "field", ["published_at", "plaintext_length", "completion_receipt_base64", "completion_receipt_sha256"]
)
async def test_a_published_session_has_every_fact(phone: Phone, field: str) -> None:
    phone.cloud.spoil["session"] = without(field)
    with pytest.raises(SimulationError):
        await phone.upload()
    assert phone.firmware.holds(1)


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://store.example.com/a?b=c", True),
        ("http://127.0.0.1:8080/store/a", True),
        ("http://[::1]:8080", True),
        ("http://store.example.com/a", False),
        ("https://me@store.example.com/a", False),
        ("https://store.example.com/a#b", False),
        ("ftp://127.0.0.1/a", False),
        ("/a", False),
    ],
)
def test_only_https_and_this_machine_are_called(url: str, is_safe: bool) -> None:
    assert is_safe_url(url) == is_safe


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "Host", "X-More"])
def test_a_link_with_any_other_header_is_not_followed(name: str) -> None:
    headers = {
        "Content-Type": "application/octet-stream",
        "x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode(),
    }
    url = "https://store.example.com/a"
    check_staging(StagingReply("PUT", url, headers), bytes(32))
    with pytest.raises(SimulationError):
        check_staging(StagingReply("PUT", url, {**headers, name: "x"}), bytes(32))
