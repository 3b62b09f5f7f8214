"""Which model answers a slot, what its calls count, and how many of them run at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.language_models.local import language_weights
from lapel.slices.language_models.local.local_model import LocalModel
from lapel.slices.language_models.service import (
    LanguageModels,
    Message,
    ModelAway,
    ModelFailed,
    Prompt,
    estimated_tokens,
)
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted
from tests.language_models.local.ggufs import gguf
from tests.support.language_services import Answer, LanguageService, serving
from tests.support.patience import LONG
from tests.support.speech_faults import status
from tests.support.tenants import Tenant, bearer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROMPT = Prompt(instructions="Be brief.", messages=[Message(role="user", text="Is it?")], max_tokens=100)
DAY = "SELECT to_jsonb(l) - 'world_id' - 'day' FROM language_usage l WHERE world_id = $1"
RESERVED = """
SELECT coalesce(sum(tokens), 0)::int8 FROM language_reservations
WHERE world_id = $1 AND ends_at > clock_timestamp()
"""
# Estimated tokens of the prompt above; 4 more for each text.
SENT = estimated_tokens("Be brief.") + estimated_tokens("Is it?") + 8


@pytest.fixture
def office(ports: Ports) -> Ports:
    """Ports that reach this machine, at a fixed time, with 20,000 tokens a day."""
    networks = (ip_network("127.0.0.0/8"),)
    settings = replace(ports.settings, outbound_networks=networks, language_tokens_per_day=20_000)
    return replace(ports, settings=settings, clock=ManualClock(NOW))


@pytest.fixture
async def service(office: Ports, tenant: Tenant) -> AsyncGenerator[LanguageService]:
    """A service that answers `claude` in the tenant's test world."""
    async with serving(LanguageService("anthropic")) as started:
        await point(office, tenant, started)
        yield started


async def point(ports: Ports, tenant: Tenant, service: LanguageService) -> None:
    """Let the service answer the tenant's slot `claude`."""
    wanted = Wanted(
        key=service.key, base_url=service.base_url, input_price=Decimal(2), output_price=Decimal(10)
    )
    await OperatorProviders(ports, mode="test", project_id=tenant.project_id).set("claude", wanted)


async def used(ports: Ports, world_id: int) -> dict[str, int]:
    """The day's figures that are not 0."""
    async with ports.database.acquire() as connection:
        told = await connection.fetchval(DAY, world_id)
    return {name: count for name, count in json.loads(told or "{}").items() if count}


async def reserved(ports: Ports, world_id: int) -> int:
    """The tokens that are reserved now."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval(RESERVED, world_id)


async def ask(ports: Ports, tenant: Tenant, prompt: Prompt = PROMPT) -> str:
    """The text of an answer."""
    async with LanguageModels(ports).using(tenant.test_world, "claude", purpose="ask") as model:
        assert model is not None
        return (await model.generate(prompt)).text


async def test_with_nothing_set_the_extractive_engine_answers(office: Ports, tenant: Tenant) -> None:
    office = replace(office, settings=replace(office.settings, language_model="extractive"))
    models = LanguageModels(office)
    for slot in ("gemini", "openai", "claude", "local"):
        async with models.using(tenant.test_world, slot, purpose="summary") as model:
            assert model is None
    assert await used(office, tenant.test_world) == {}


async def test_the_local_engine_runs_a_model_where_there_is_one(
    office: Ports, tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "json")
    file = gguf(tmp_path)
    office = replace(office, settings=replace(office.settings, language_model=str(file)))
    models = LanguageModels(office)
    for slot in ("gemini", "openai", "claude", "local"):
        async with models.using(tenant.test_world, slot, purpose="ask") as model:
            assert isinstance(model, LocalModel)
            assert (model.name, model.context_tokens) == ("tiny-model", 1024)
    await models.aclose()
    file.unlink()
    with pytest.raises(ModelFailed, match="No such file"):
        async with LanguageModels(office).using(tenant.test_world, "local", purpose="ask"):
            pass


async def test_a_call_counts_for_its_world_and_day(
    office: Ports, tenant: Tenant, stranger: Tenant, service: LanguageService, client: httpx.AsyncClient
) -> None:
    assert await ask(office, tenant) == "Yes."
    assert await used(office, tenant.test_world) == {
        "calls": 1, "input_tokens": 100, "output_tokens": 20, "cached_tokens": 40, "cost_micros": 400,
    }  # fmt: skip
    async with LanguageModels(office).using(stranger.test_world, "claude", purpose="ask") as model:
        assert model is None
    answer = (await client.get("/v1/usage", headers=bearer(tenant.test_key))).json()
    assert set(answer["language_models_today"]) == {
        "calls", "input_tokens", "output_tokens", "cached_tokens", "limit_tokens", "cost_usd", "resets_at",
    }  # fmt: skip


async def test_a_failed_call_gives_back_what_it_reserved(
    office: Ports, tenant: Tenant, service: LanguageService
) -> None:
    service.fail(status(500, {}))
    with pytest.raises(ModelAway):
        await ask(office, tenant)
    assert await used(office, tenant.test_world) == {}
    assert await reserved(office, tenant.test_world) == 0


async def test_a_call_that_ends_early_counts_what_it_wrote(
    office: Ports, tenant: Tenant, service: LanguageService
) -> None:
    service.answer = lambda _: "It is so, as far as anybody knows." * 3
    service.misbehave("hang")
    async with LanguageModels(office).using(tenant.test_world, "claude", purpose="ask") as model:
        assert model is not None
        async with aclosing(model.stream(PROMPT)) as pieces:
            first = await anext(pieces)
    found = await used(office, tenant.test_world)
    assert (found["input_tokens"], found["output_tokens"]) == (SENT, estimated_tokens(str(first)))
    assert await reserved(office, tenant.test_world) == 0


async def test_a_service_that_counts_no_tokens_is_counted_by_estimate(
    office: Ports, tenant: Tenant, service: LanguageService
) -> None:
    service.answer = lambda _: Answer("Yes.", usage=None)
    await ask(office, tenant)
    found = await used(office, tenant.test_world)
    assert (found["input_tokens"], found["output_tokens"]) == (SENT, estimated_tokens("Yes."))


async def test_a_day_that_is_used_up(office: Ports, tenant: Tenant, service: LanguageService) -> None:
    """A call of 150 tokens does not fit into 4,150, because its model may think for 4,096."""
    service.answer = lambda _: Answer("Yes.", usage=(15_800, 50, 0))
    await ask(office, tenant)
    with pytest.raises(ModelFailed, match=r"Ask again after 2026-03-02T00:00:00Z\.") as failed:
        await ask(office, tenant, Prompt(instructions="", messages=PROMPT.messages, max_tokens=150))
    assert failed.value.code == "budget"
    assert service.calls == 1
    await ask(replace(office, settings=replace(office.settings, language_tokens_per_day=0)), tenant)
    tomorrow = replace(office, clock=ManualClock(NOW.replace(day=2)))
    await ask(tomorrow, tenant)


async def test_calls_at_once_do_not_exceed_the_day(
    office: Ports, tenant: Tenant, service: LanguageService
) -> None:
    """Each reserves 4,396 tokens and more before it begins, so that 4 of 8 are called."""
    prompt = Prompt(instructions="", messages=PROMPT.messages, max_tokens=300)
    service.answer = lambda _: Answer("Yes.", usage=(1, 1, 0))
    service.misbehave("hang", times=4)
    tasks = [asyncio.create_task(ask(office, tenant, prompt)) for _ in range(8)]
    done, running = await asyncio.wait(tasks, timeout=LONG, return_when=asyncio.FIRST_EXCEPTION)
    while len(done) < 4:
        more, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {type(each.exception()) for each in done} == {ModelFailed}
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await reserved(office, tenant.test_world) == 0


async def test_a_key_that_cannot_be_read_is_said(
    office: Ports, tenant: Tenant, service: LanguageService
) -> None:
    async with office.database.acquire() as connection:
        await connection.execute(
            "UPDATE provider_slots SET sealed_key = '\\x00' WHERE world_id = $1", tenant.test_world
        )
    with pytest.raises(ModelFailed, match="sealed under another secret") as failed:
        await ask(office, tenant)
    assert failed.value.code == "account"


async def test_a_world_leaves_places_to_others(
    office: Ports, tenant: Tenant, stranger: Tenant, service: LanguageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel.slices.language_models.service._PATIENCE", 0.05)
    await point(office, stranger, service)
    models = LanguageModels(office)
    async with AsyncExitStack() as held:
        for _ in range(32):
            await held.enter_async_context(models.using(tenant.test_world, "claude", purpose="ask"))
        with pytest.raises(ModelAway, match="Too many calls") as away:
            await held.enter_async_context(models.using(tenant.test_world, "claude", purpose="ask"))
        assert away.value.after
        for _ in range(16):
            await held.enter_async_context(models.using(stranger.test_world, "claude", purpose="ask"))
        with pytest.raises(ModelAway):
            await held.enter_async_context(models.using(stranger.test_world, "claude", purpose="ask"))
        async with models.using(stranger.live_world, "claude", purpose="ask") as model:
            assert model is None  # nothing is set there, and no place is needed
    async with models.using(tenant.test_world, "claude", purpose="ask") as model:
        assert model is not None
