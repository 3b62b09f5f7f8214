"""Whatever a provider does, the work ends in a transcript, in another try, or in a reason; and soon."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.providers.choice import SpeechEngine
from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.provider_client import Service
from lapel.slices.providers.service import ProviderAway, ProviderFailed
from lapel.slices.transcription.providers.protocol import Clip
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from tests.support.speech_faults import (
    CLOSE,
    CUT,
    DEAF,
    ENDLESS,
    HANG,
    NO_HTTP,
    TRICKLE,
    Fault,
    content,
    status,
)
from tests.support.speech_providers import ENGINES, KEY, LOOPBACK, QUICK, Fake, serving_fake

SHORT = replace(QUICK, answer_bytes=1_000_000)
# AssemblyAI's polls are repeated before the whole is.
OFTEN = 5


async def refused(fake: Fake, clip: Clip, fault: Fault) -> SpeechError | TryAgain:
    """What the work hears when every call ends like this."""
    fake.fail(fault, OFTEN)
    patience = replace(SHORT, answer=0.2) if fault in (HANG, TRICKLE) else SHORT
    with pytest.raises((SpeechError, TryAgain)) as caught:
        await fake.hear(clip, patience=patience)
    assert caught.value.code == "provider_error"
    assert KEY not in caught.value.message
    assert caught.value.message.endswith((".", "`."))
    return caught.value


UNREADABLE = (
    b"<html>Please log in</html>",
    b'{"text": "half an ans',
    b'{"text": "\xff"}',
    b"",
    b"[" * 100_000,
    b"[]",
    b"null",
    b'{"surprise": {"text": []}}',
    b'{"results": 7, "text": 7, "id": 7, "upload_url": 7, "status": 7}',
)


async def test_an_answer_that_is_none_is_tried_again(fake: Fake, clip: Clip) -> None:
    for body in UNREADABLE:
        fake.faults.clear()
        caught = await refused(fake, clip, content(body))
        assert isinstance(caught, TryAgain)
        assert "cannot be read: " in caught.message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HANG, "did not answer in time"),
        (TRICKLE, "did not answer in time"),
        (CUT, "broke off its answer"),
        (CLOSE, "broke off its answer"),
        (NO_HTTP, "does not answer as HTTP does"),
        (ENDLESS, "cannot be read: it is too long"),
        (status(500, {"error": "Internal server error"}), "answered 500: Internal server error"),
        (status(503, b"<html>down</html>"), "answered 503."),
        (status(504, {"err_msg": "upstream"}), "answered 504: upstream"),
        (status(529, {"error": {"type": "overloaded_error", "message": "busy"}}), "answered 529: busy"),
        (status(429, {"err_msg": "Too many requests"}), "answered 429: Too many requests"),
        (status(429, {"detail": {"code": "system_busy", "message": "Quota of all."}}), "429: Quota of all"),
        (status(403, {"error": "Rate limit exceeded: 20000 requests."}), "answered 403: Rate limit"),
        (status(401, {"detail": {"status": "too_many_concurrent_requests", "message": "x"}}), "answered 401"),
        (status(400, {"error": {"message": "odd"}}, x_should_retry="true"), "answered 400: odd"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
async def test_what_may_pass_is_tried_again(fake: Fake, clip: Clip, fault: Fault, words: str) -> None:
    caught = await refused(fake, clip, fault)
    assert isinstance(caught, TryAgain)
    assert words in caught.message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(400, {"err_code": "Bad Request", "err_msg": "corrupt data"}), "400: corrupt data."),
        (status(413, "Payload\x00 too\nlarge"), "answered 413: Payload too large."),
        (status(415, {"error": {"message": "Invalid file.", "type": "x"}}), "415: Invalid file."),
        (status(422, {"detail": [{"loc": ["body"], "msg": "field required"}]}), "422: field required."),
        (status(400, "x" * 60_000), "x…"),
        (
            status(402, {"category": "ASR_PAYMENT_REQUIRED", "message": f"nothing left on {KEY}"}),
            "402: nothing left on …. The account's credit or quota is used up",
        ),
        (status(402, b""), "The account's credit or quota is used up"),
        (
            status(429, {"error": {"code": "insufficient_quota", "message": "See your plan."}}),
            "429: See your plan. The account's credit or quota is used up",
        ),
        (
            status(
                401, {"detail": {"code": "quota_exceeded", "message": "0 left.", "status": "quota_exceeded"}}
            ),
            "401: 0 left. The account's credit or quota is used up",
        ),
        (
            status(403, {"detail": {"code": "x", "message": "Your plan does not include it."}}),
            "The key is known, but its account may not do this",
        ),
        (
            status(401, {"err_code": "INSUFFICIENT_PERMISSIONS", "err_msg": "No such scope."}),
            "The key is known, but its account may not do this",
        ),
        (status(400, {"error": "The model was removed."}), "If the model is the reason, name another one: "),
        (status(503, {"error": "no"}, x_should_retry="false"), "answered 503: no."),
        (status(404, {"detail": {"status": "model_not_found", "message": "No such model"}}), "--model NAME"),
        (status(302, "", Location="https://elsewhere.example/"), "A redirect is not followed"),
        (status(307, "", Location="/v1/other"), "--base-url URL"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
async def test_what_does_not_pass_is_told(fake: Fake, clip: Clip, fault: Fault, words: str) -> None:
    caught = await refused(fake, clip, fault)
    assert isinstance(caught, SpeechError)
    assert words in caught.message
    assert len(caught.message) < 400
    assert len(fake.calls) == 1  # nothing was followed or repeated


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("before_body", [False, True])
async def test_a_refused_key_says_how_to_set_another(
    fake: Fake, clip: Clip, code: int, before_body: bool
) -> None:
    fault = status(code, {"err_msg": f"Incorrect API key provided: {KEY}."}, before_body=before_body)
    caught = await refused(fake, clip, fault)
    assert isinstance(caught, SpeechError)
    slot = fake.choice().slot
    assert f"{code}: Incorrect API key provided: …. It refuses the key; set another one: " in caught.message
    assert f"`lapel providers set {slot} --key-file FILE`" in caught.message


async def test_a_key_is_refused_before_a_large_file_is_sent(clip: Clip, tmp_path: Path) -> None:
    large = tmp_path / "large.ogg"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    async with serving_fake(Fake("deepgram", decode=False)) as fake:
        fake.fail(status(401, {"err_msg": "no"}, before_body=True))
        with pytest.raises((SpeechError, TryAgain)) as caught:
            await fake.hear(_with(clip, file=large))
    assert isinstance(caught.value, SpeechError)


def _with(clip: Clip, **changes: Any) -> Clip:
    return Clip(**{name: getattr(clip, name) for name in clip.__struct_fields__} | changes)


async def test_a_provider_that_takes_nothing_is_not_waited_for(clip: Clip, tmp_path: Path) -> None:
    large = tmp_path / "large.ogg"
    with large.open("wb") as file:
        file.truncate(64_000_000)
    async with serving_fake(Fake("deepgram", decode=False)) as fake:
        fake.fail(DEAF)
        with pytest.raises(TryAgain, match="did not answer in time"):
            await fake.hear(_with(clip, file=large), patience=replace(QUICK, stall=0.2))


@pytest.mark.parametrize("http_date", [False, True])
async def test_a_pause_that_is_asked_for_is_told(fake: Fake, clip: Clip, http_date: bool) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=40)
    value = format_datetime(moment, usegmt=True) if http_date else "40"
    caught = await refused(fake, clip, status(429, {"error": "slow down"}, Retry_After=value))
    assert isinstance(caught, TryAgain)
    assert caught.after is not None
    assert 30 <= caught.after <= 40


@pytest.mark.parametrize(("value", "seconds"), [("1500", 1.5), ("99999999999", 3600), ("-5", 0), ("soon", 7)])
async def test_a_pause_in_milliseconds_comes_first(
    fake: Fake, clip: Clip, value: str, seconds: float
) -> None:
    fault = status(429, {"error": "slow down"}, Retry_After="7", retry_after_ms=value)
    caught = await refused(fake, clip, fault)
    assert isinstance(caught, TryAgain)
    assert caught.after == seconds


@pytest.mark.parametrize(
    ("gives_up", "kind"), [(None, ProviderAway), (60.0, ProviderAway), (0.1, ProviderFailed)]
)
async def test_a_limit_of_the_service_is_met_once(gives_up: float | None, kind: type[Exception]) -> None:
    """A 504 that comes when the service's own time for a file is over: the next try would end alike."""
    async with serving_fake(Fake("deepgram")) as fake:
        account = Account(
            name="Deepgram", slot="deepgram", base_url=fake.url, key=KEY, headers={}, gives_up=gives_up
        )
        fake.fail(late(0.15, status(504, {"err_msg": "took too long"})))
        async with Service(account, SystemClock(), QUICK, LOOPBACK) as service:
            with pytest.raises((ProviderFailed, ProviderAway)) as caught:
                await service.tell("POST", "/v1/listen")
        fake.complaints.clear()
    assert isinstance(caught.value, kind)


def late(seconds: float, fault: Fault) -> Fault:
    """The same after a while."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await fault.answer(request)

    return Fault(answer, before_body=True)


async def test_the_next_try_may_succeed(fake: Fake, clip: Clip) -> None:
    fake.fail(status(500, {}))
    with pytest.raises(TryAgain):
        await fake.hear(clip)
    assert [each.text for each in (await fake.hear(clip)).segments] == ["Good morning.", "Hello there!"]


async def test_nobody_is_there(clip: Clip) -> None:
    for url, words in (
        ("http://127.0.0.1:1", r"cannot be reached \(Connection refused\)\."),
        ("http://nowhere.invalid", "its name cannot be resolved"),
    ):
        with pytest.raises(TryAgain, match=words) as caught:
            await Fake("deepgram", url=url).hear(clip)
        assert url.rpartition("/")[2] not in caught.value.message


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_address_that_the_settings_do_not_allow_is_not_called(
    engine: SpeechEngine, clip: Clip
) -> None:
    async with serving_fake(Fake(engine)) as fake:
        with pytest.raises(SpeechError, match="network of LAPEL_OUTBOUND_NETWORKS") as caught:
            await fake.hear(clip, policy=OutboundPolicy())
        assert fake.calls == []
    assert "127.0.0.1" not in caught.value.message  # tenants read it


async def test_polls_are_repeated_without_sending_the_file_again(clip: Clip) -> None:
    async with serving_fake(Fake("assemblyai")) as fake:
        fake.fail(status(502, b"bad gateway"), 2, at="/v2/transcript/")
        fake.fail(status(429, {"error": "slow"}, Retry_After="0"), at="/v2/transcript/")
        fake.fail(CUT, at="/v2/transcript/")
        assert len((await fake.hear(clip)).segments) == 2
        polls = ["GET /v2/transcript/t-1"] * (4 + 1)
        assert fake.calls == ["POST /v2/upload", "POST /v2/transcript", *polls]


async def test_an_order_that_is_cancelled_while_it_is_placed_is_remembered(clip: Clip) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(_: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return web.json_response({"id": "t-1", "status": "queued"})

    async with serving_fake(Fake("assemblyai")) as fake:
        fake.fail(Fault(late), at="/v2/transcript")
        hearing = asyncio.create_task(fake.hear(clip))
        await asked.wait()
        hearing.cancel()
        await asyncio.sleep(0)  # it hears of that before the answer comes
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await hearing
        assert fake.remembered == ["t-1"]


async def test_polls_that_always_fail_are_given_up(clip: Clip) -> None:
    async with serving_fake(Fake("assemblyai")) as fake:
        fake.fail(status(502, b"bad gateway"), OFTEN, at="/v2/transcript/")
        with pytest.raises(TryAgain, match="answered 502: bad gateway"):
            await fake.hear(clip)


@pytest.mark.parametrize("identity", ["../../v2/upload", "", "a b", "x" * 101, "t\n"])
async def test_an_id_cannot_lead_elsewhere(clip: Clip, identity: str) -> None:
    async with serving_fake(Fake("assemblyai", answer={"id": identity, "status": "completed"})) as fake:
        with pytest.raises(TryAgain, match="cannot be read"):
            await fake.hear(clip)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("Transcoding failed. File does not appear to contain audio.", SpeechError),
        ("Internal server error. Please retry your request.", TryAgain),
    ],
)
async def test_a_failed_transcript_tells_why(clip: Clip, error: str, kind: type[Exception]) -> None:
    answer = {"id": "t-1", "status": "error", "error": error}
    async with serving_fake(Fake("assemblyai", answer=answer)) as fake:
        with pytest.raises(kind, match=f"AssemblyAI could not transcribe it: {error}"):
            await fake.hear(clip)


async def test_a_status_that_nobody_knows(clip: Clip) -> None:
    async with serving_fake(Fake("assemblyai", answer={"id": "t-1", "status": "dreaming"})) as fake:
        with pytest.raises(TryAgain, match="there is no status 'dreaming'"):
            await fake.hear(clip)


async def test_a_transcript_that_never_comes(clip: Clip) -> None:
    async with serving_fake(Fake("assemblyai", polls=10_000)) as fake:
        with pytest.raises(TryAgain, match=r"does not finish|did not answer in time"):
            await fake.hear(clip, patience=replace(QUICK, total=0.3))
        assert fake.complaints == []
