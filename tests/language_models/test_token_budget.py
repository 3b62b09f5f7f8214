"""The tokens of a day under calls that end, are cancelled or are killed, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.language_models.budget.token_budget import CountedModel
from lapel.slices.language_models.service import Generated, Message, ModelFailed, Prompt, Tokens
from tests.language_models.test_using import RESERVED
from tests.support.tenants import Tenant

LIMIT = 1000
USED = "SELECT input_tokens + output_tokens FROM language_usage WHERE world_id = $1"
# As if so much time had passed.
LATER = "UPDATE language_reservations SET ends_at = ends_at - interval '1 hour' WHERE world_id = $1"
ROWS = "SELECT count(*) FROM language_reservations WHERE world_id = $1"


class Scripted:
    """A model that waits until it is let go, and then used so many tokens."""

    name = "tiny"
    context_tokens = 10_000
    reads_claims = False

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.tokens = Tokens()

    async def generate(self, prompt: Prompt) -> Generated:
        """Not used."""
        raise AssertionError(prompt)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The answer, when it is let go."""
        self.begun.set()
        await self.go.wait()
        yield Generated(text="Yes.", model=str(prompt.max_tokens), tokens=self.tokens)


class Process:
    """A call in a process that may be killed, after which it writes nothing."""

    def __init__(self, ports: Ports, world_id: int, tokens: int) -> None:
        self.model, self.tokens = Scripted(), tokens
        counted = CountedModel(self.model, ports, world_id, longest=timedelta(minutes=5))
        # The texts are estimated, so that so many tokens are reserved in all.
        self.task = asyncio.create_task(counted.generate(_prompt(tokens)))

    async def begins(self) -> bool:
        """Whether the budget let it begin."""
        begun = asyncio.create_task(self.model.begun.wait())
        await asyncio.wait({begun, self.task}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        return not self.task.done()

    async def ends(self, tokens: int) -> None:
        """Let it end, with so many tokens used."""
        self.model.tokens = Tokens(input=tokens, output=0)
        self.model.go.set()
        await self.task

    async def is_cancelled(self) -> None:
        """Its caller left."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def _prompt(tokens: int) -> Prompt:
    return Prompt(instructions="", messages=[Message(role="user", text="")], max_tokens=tokens - 8)


@pytest.mark.parametrize("seed", range(3))
async def test_no_order_of_ends_cancels_and_kills_loses_a_token(
    ports: Ports, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw, world = random.Random(seed), tenant.test_world
    ports = replace(ports, settings=replace(ports.settings, language_tokens_per_day=LIMIT))
    running: list[Process] = []
    killed: list[Process] = []
    used, held = 0, 0
    for _ in range(60):
        match draw.choice(["begin", "begin", "begin", "end", "cancel", "kill", "pass"]):
            case "begin":
                tokens = draw.randint(20, 400)
                process = Process(ports, world, tokens)
                fits = used + held + tokens <= LIMIT
                assert await process.begins() == fits
                if fits:
                    running.append(process)
                    held += tokens
                else:
                    with pytest.raises(ModelFailed, match="per day"):
                        await process.task
            case "end" if running:
                process = running.pop(draw.randrange(len(running)))
                spent = draw.randint(1, 30)
                await process.ends(spent)
                used, held = used + spent, held - process.tokens
            case "cancel" if running:
                process = running.pop(draw.randrange(len(running)))
                await process.is_cancelled()
                held -= process.tokens
            case "kill" if running:
                killed.append(running.pop(draw.randrange(len(running))))
            case "pass" if not running:  # the reservations of those that were killed end
                await _execute(ports, LATER, world)
                held = 0
            case _:
                pass
        assert (await _value(ports, RESERVED, world), await _value(ports, USED, world) or 0) == (held, used)
    with monkeypatch.context() as patched:
        patched.setattr(CountedModel, "_settle", _nothing)  # a killed process settles nothing
        for process in killed:
            await process.is_cancelled()
    for process in running:
        await process.is_cancelled()
    await _execute(ports, LATER, world)
    last = Process(ports, world, LIMIT - used)
    assert await last.begins()
    assert await _value(ports, ROWS, world) == 1, "reservations that have ended are deleted"
    await last.ends(0)
    assert await _value(ports, ROWS, world) == 0


async def test_calls_of_several_processes_share_the_day(ports: Ports, tenant: Tenant) -> None:
    ports = replace(ports, settings=replace(ports.settings, language_tokens_per_day=LIMIT))
    calls = [Process(ports, tenant.test_world, 300) for _ in range(8)]
    begun = await asyncio.gather(*(each.begins() for each in calls))
    assert sum(begun) == 3
    for each in calls:
        await each.is_cancelled()
    assert await _value(ports, ROWS, tenant.test_world) == 0


async def test_a_reader_that_leaves_gives_back_what_is_reserved(ports: Ports, tenant: Tenant) -> None:
    model = Scripted()
    model.go.set()
    counted = CountedModel(model, ports, tenant.test_world, longest=timedelta(minutes=5))
    async with aclosing(counted.stream(_prompt(100))) as pieces:
        await anext(pieces)
        assert await _value(ports, ROWS, tenant.test_world) == 1
    assert await _value(ports, ROWS, tenant.test_world) == 0


async def _nothing(*_: object) -> None:
    pass


async def _value(ports: Ports, statement: str, world_id: int) -> int:
    async with ports.database.acquire() as connection:
        return await connection.fetchval(statement, world_id)


async def _execute(ports: Ports, statement: str, world_id: int) -> None:
    async with ports.database.acquire() as connection:
        await connection.execute(statement, world_id)
