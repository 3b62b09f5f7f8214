"""Each adapter against a service that follows the maker's specification, and against its faults."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.language_models.engines.model_choice import remote_model
from lapel.slices.language_models.engines.remote_model import RemoteModel
from lapel.slices.language_models.engines.sse_reader import AnswerBounds
from lapel.slices.language_models.service import (
    Generated,
    Message,
    ModelAway,
    ModelFailed,
    Prompt,
    Tokens,
    structured,
)
from tests.support.language_services import Answer, Asked, LanguageService, Misbehaviour, serving, slot_choice
from tests.support.language_services.service import Dialect
from tests.support.patience import patience
from tests.support.speech_faults import Fault, status
from tests.support.speech_providers import LOOPBACK

DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "gemini")
# Short limits: the services answer at once, and tests of hanging ones must be quick.
QUICK = AnswerBounds(first=0.2, between=0.2, total=5.0, total_bytes=4 * 1024 * 1024)
PATIENT = AnswerBounds(first=10.0, between=10.0, total=20.0, total_bytes=4 * 1024 * 1024)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "overview": {"type": "string"},
        "mood": {"enum": ["good", "bad", None]},
        "points": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "at": {"type": ["integer", "null"]}},
                "required": ["text", "at"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["overview", "mood", "points"],
    "additionalProperties": False,
}
PROMPT = Prompt(
    instructions="Answer in one word.",
    messages=[
        Message(role="user", text="Is it?"),
        Message(role="assistant", text="It is."),
        Message(role="user", text="Really — 本当?"),
    ],
    max_tokens=200,
)
LONG = " ".join(f"Sentence {number} has other words than {number * 7}." for number in range(40))


def model_of(
    service: LanguageService, bounds: AnswerBounds = PATIENT, policy: OutboundPolicy = LOOPBACK
) -> RemoteModel:
    """Our side of the service."""
    return remote_model(
        slot_choice(service), own=service.own, bounds=bounds, clock=SystemClock(), policy=policy
    )


async def pieces_of(model: RemoteModel, prompt: Prompt = PROMPT) -> list[str | Generated]:
    """All that a stream gives."""
    async with aclosing(model.stream(prompt)) as pieces:
        return [piece async for piece in pieces]


@pytest.fixture(params=DIALECTS)
async def service(request: pytest.FixtureRequest) -> AsyncGenerator[LanguageService]:
    """Each of the services."""
    async with serving(LanguageService(request.param)) as started:
        yield started


async def test_an_answer_comes_in_pieces_and_whole(service: LanguageService) -> None:
    service.answer = lambda _: LONG
    *texts, whole = await pieces_of(model_of(service))
    assert "".join(str(each) for each in texts) == LONG
    assert len(texts) > 10
    asked = service.asked[0]
    assert whole == Generated(text=LONG, model=asked.model, tokens=Tokens(input=100, output=20, cached=40))
    assert asked.instructions == PROMPT.instructions
    assert list(asked.messages) == [(each.role, each.text) for each in PROMPT.messages]
    assert asked.schema is None
    assert asked.max_tokens == PROMPT.max_tokens + model_of(service).thinking_tokens
    assert service.refused == []


async def test_a_beginning_that_stays_the_same_is_marked_where_the_vendor_wants_it() -> None:
    asked = Message(role="user", text="What was said.\n\nQuestion?", fixed=14)
    prompt = Prompt(instructions="Answer.", messages=[asked], max_tokens=200)
    for dialect in DIALECTS:
        async with serving(LanguageService(dialect)) as service:
            await pieces_of(model_of(service), prompt)
        assert service.refused == []
        assert list(service.asked[0].messages) == [("user", asked.text)]
        if dialect == "anthropic":
            assert service.asked[0].body["messages"][0]["content"] == [
                {"type": "text", "text": "What was said.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "\n\nQuestion?"},
            ]


async def test_json_is_asked_for_by_its_schema(service: LanguageService) -> None:
    told = {"overview": "x", "mood": None, "points": [{"text": "y", "at": 3}]}
    answers = ["no JSON", json.dumps(told)]
    service.answer = lambda _: answers.pop(0)
    prompt = replace_prompt(schema=SCHEMA, name="summary")
    found, call = await structured(model_of(service), prompt, lambda value: value)
    assert found == told
    assert call.tokens == Tokens(input=200, output=40, cached=80)
    assert [each.schema for each in service.asked] == [SCHEMA, SCHEMA]
    assert service.asked[1].messages[-2] == ("assistant", "no JSON")
    assert service.refused == []


def replace_prompt(**fields: Any) -> Prompt:
    """The prompt with other fields."""
    return Prompt(
        **{"instructions": PROMPT.instructions, "messages": PROMPT.messages, "max_tokens": 200} | fields
    )


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer("", refusal="I cannot help with that."), "refused"),
        (Answer("", finish="filter"), "refused"),
        (Answer("Hm.", finish="pause_turn"), "engine"),
        (Answer("Hm.", finish="TOO_MANY_TOOL_CALLS"), "engine"),
    ],
)
async def test_an_answer_that_is_none_fails(service: LanguageService, answer: Answer, code: str) -> None:
    service.answer = lambda _: answer
    with pytest.raises(ModelFailed) as failed:
        await model_of(service).generate(PROMPT)
    assert failed.value.code == code


async def test_what_is_cut_off_or_withheld_is_told(service: LanguageService) -> None:
    answers = [Answer("As far as", finish="length"), Answer("As far", finish="filter", usage=None)]
    service.answer = lambda _: answers.pop(0)
    model = model_of(service)
    cut = await model.generate(PROMPT)
    assert (cut.text, cut.finish_reason) == ("As far as", "length")
    withheld = await model.generate(PROMPT)
    assert (withheld.text, withheld.finish_reason) == ("As far", "content_filter")
    assert withheld.tokens == Tokens()


async def test_a_full_window_fails_as_such() -> None:
    async with serving(LanguageService("anthropic")) as service:
        service.answer = lambda _: Answer("As", finish="model_context_window_exceeded")
        with pytest.raises(ModelFailed) as failed:
            await model_of(service).generate(PROMPT)
    assert failed.value.code == "context"


@pytest.mark.parametrize("how", ["hang", "silent"])
async def test_a_service_that_hangs_is_left(service: LanguageService, how: Misbehaviour) -> None:
    service.answer = lambda _: LONG
    service.misbehave(how)
    with pytest.raises(ModelAway, match="did not answer in time"):
        await model_of(service, QUICK).generate(PROMPT)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("garbage", "cannot be read"),
        ("cut", "broke off its answer|closed the connection"),
        ("short", "broke off its answer"),
        ("error", "Overloaded"),
        ("endless", "it is too long"),
        ("line", "too long"),
    ],
)
async def test_an_answer_that_goes_wrong_may_be_tried_again(
    service: LanguageService, how: Misbehaviour, words: str
) -> None:
    service.answer = lambda _: LONG
    service.misbehave(how)
    with pytest.raises(ModelAway, match=words):
        await model_of(service).generate(PROMPT)
    assert (await model_of(service).generate(PROMPT)).text == LONG


async def test_an_endless_answer_is_ended(service: LanguageService) -> None:
    service.answer = lambda _: "Round and round. " * 3
    service.size = 17
    service.misbehave("repeat", times=2)
    with pytest.raises(ModelFailed) as failed:
        await model_of(service).generate(replace_prompt(max_tokens=100_000))
    assert failed.value.code == "repetition"
    with pytest.raises(ModelFailed) as failed:
        await model_of(service).generate(replace_prompt(max_tokens=1))
    assert failed.value.code == "repetition"


async def test_an_answer_that_is_no_stream_is_read(service: LanguageService) -> None:
    service.answer = lambda _: "Yes, all at once."
    service.misbehave("unstreamed")
    assert (await model_of(service).generate(PROMPT)).text == "Yes, all at once."


async def test_a_reader_that_leaves_ends_the_call(service: LanguageService) -> None:
    service.answer = lambda _: LONG
    service.misbehave("hang")
    stream = model_of(service).stream(PROMPT)
    assert await anext(stream)
    await stream.aclose()
    async with patience(60):
        await service.left.wait()


REFUSALS: list[tuple[int, Any, dict[str, str], type[Exception], str | float | None]] = [
    (401, {"error": {"message": "bad key", "type": "authentication_error"}}, {}, ModelFailed, "account"),
    (402, {"error": {"message": "pay first", "type": "billing_error"}}, {}, ModelFailed, "account"),
    (429, {"error": {"message": "no credit", "code": "insufficient_quota"}}, {}, ModelFailed, "account"),
    (429, {"error": {"message": "slow down"}}, {"Retry_After": "7"}, ModelAway, 7.0),
    (429, {"error": {"message": "slow down"}}, {"retry_after_ms": "1500"}, ModelAway, 1.5),
    (500, {"error": {"message": "oops"}}, {}, ModelAway, None),
    (503, "<html>busy</html>", {}, ModelAway, None),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, {}, ModelAway, None),
    (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, {}, ModelFailed, "context"),
    (400, {"error": {"message": "prompt is too long: 2 > 1"}}, {}, ModelFailed, "context"),
    (413, {"error": {"message": "big", "type": "request_too_large"}}, {}, ModelFailed, "context"),
    (400, {"error": {"message": "m", "code": "content_filter"}}, {}, ModelFailed, "refused"),
    (400, {"error": {"message": "no such field"}}, {}, ModelFailed, "engine"),
    (404, {"error": {"message": "no such model"}}, {}, ModelFailed, "engine"),
    (307, "", {"Location": "http://127.0.0.1:9/"}, ModelFailed, "engine"),
]


@pytest.mark.parametrize(("code", "body", "headers", "kind", "what"), REFUSALS)
async def test_refusals_are_told_apart(
    code: int, body: Any, headers: dict[str, str], kind: type[Exception], what: object
) -> None:
    async with serving(LanguageService("openai")) as service:
        service.fail(status(code, body, before_body=False, **headers))
        with pytest.raises(kind) as caught:
            await model_of(service).generate(PROMPT)
    assert getattr(caught.value, "code" if kind is ModelFailed else "after") == what
    assert isinstance(caught.value, ModelFailed | ModelAway)
    assert caught.value.status == code
    if isinstance(caught.value, ModelAway):
        assert caught.value.how == ("failed" if code == 500 else "overloaded")
    assert KEY_OF_FAKES not in str(caught.value)


KEY_OF_FAKES = "fake-key-0123456789abcdef-WXYZ"


async def test_a_wrong_key_is_the_accounts_fault(service: LanguageService) -> None:
    model = model_of(service)
    service.key = "another"
    with pytest.raises(ModelFailed, match="set another one") as failed:
        await model.generate(PROMPT)
    assert failed.value.code == "account"
    assert KEY_OF_FAKES not in failed.value.message


async def test_google_tells_in_the_body_how_long_to_wait() -> None:
    told = {
        "code": 429,
        "message": "quota",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"retryDelay": "12s"}],
    }
    async with serving(LanguageService("gemini")) as service:
        service.fail(status(429, {"error": told}))
        with pytest.raises(ModelAway) as away:
            await model_of(service).generate(PROMPT)
    assert away.value.after == 12.0


async def test_anthropics_limit_of_the_month_is_no_reason_to_wait() -> None:
    told = {"type": "error", "error": {"type": "rate_limit_error", "message": "monthly"}}
    async with serving(LanguageService("anthropic")) as service:
        service.fail(status(429, told))
        with pytest.raises(ModelFailed) as failed:
            await model_of(service).generate(PROMPT)
    assert failed.value.code == "account"


async def test_an_address_that_the_settings_do_not_allow_is_not_called(service: LanguageService) -> None:
    with pytest.raises(ModelFailed, match="LAPEL_OUTBOUND_NETWORKS"):
        await model_of(service, policy=OutboundPolicy()).generate(PROMPT)
    assert service.calls == 0


async def test_a_server_of_ones_own_gets_the_fields_that_it_knows() -> None:
    """And the schema in words, because it may not enforce it."""
    async with serving(LanguageService("openai", own=False)) as service:
        told = json.dumps({"overview": "x", "mood": None, "points": []})
        service.answer = lambda _: f"<think>Well, {{}}</think>\n{told}"
        prompt = replace_prompt(schema=SCHEMA)
        assert (await model_of(service).generate(prompt)).text == told
        assert service.asked[0].max_tokens == 200
        assert '"overview"' in service.asked[0].instructions
        for refusal in ("'response_format' is not known", "'stream_options' is not known", "max_tokens: no"):
            service.fail(status(400, {"error": {"message": refusal}}))
        with pytest.raises(ModelFailed, match="max_completion_tokens"):  # the third made it refuse
            await model_of(service).generate(prompt)
        assert service.calls == 5
    assert len(service.refused) == 1


def refused_in_a_stream(*texts: str) -> Fault:
    """An answer that begins with these texts, and then refuses a field."""
    chunks = [{"model": "m", "choices": [{"delta": {"content": text}}]} for text in texts]
    refusal = {"error": {"message": "'stream_options' is not known", "code": 400}}
    events = "".join(f"data: {json.dumps(each)}\n\n" for each in (*chunks, refusal))
    return status(200, events, Content_Type="text/event-stream")


async def test_an_answer_that_has_begun_is_not_followed_by_a_second_one() -> None:
    async with serving(LanguageService("openai", own=False)) as service:
        service.fail(refused_in_a_stream())
        *_, whole = await pieces_of(model_of(service))
        assert isinstance(whole, Generated)
        assert (whole.text, service.calls) == ("Yes.", 2)
        service.fail(refused_in_a_stream("Half an answer"))
        with pytest.raises(ModelFailed, match="is not known"):
            await pieces_of(model_of(service))
        assert service.calls == 3


async def test_the_window_of_an_unknown_server_is_small() -> None:
    service = LanguageService("openai", own=False, url="http://127.0.0.1:9")
    assert model_of(service).context_tokens == 4096
    chosen = slot_choice(service, context_tokens=32_768)
    wide = remote_model(chosen, own=False, bounds=QUICK, clock=SystemClock(), policy=LOOPBACK)
    assert wide.context_tokens == 32_768
    assert model_of(replace(service, own=True)).context_tokens == 922_000


async def test_another_language_is_passed_on(service: LanguageService) -> None:
    def answer(asked: Asked) -> str:
        return "本当です。" if "本当" in asked.text else "Yes."

    service.answer = answer
    assert (await model_of(service).generate(PROMPT)).text == "本当です。"
