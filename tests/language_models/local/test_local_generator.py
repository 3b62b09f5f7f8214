"""The process of a model and its client: answers, interruptions and deaths, with a real process."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import aclosing

import psutil
import pytest

from lapel.foundation.workers.worker_process import WorkerProcess
from lapel.slices.language_models.language_model import Generated, Tokens
from lapel.slices.language_models.local import local_generator
from lapel.slices.language_models.local.local_generator import LocalGenerator
from lapel.slices.language_models.local.local_model import LocalModel
from lapel.slices.language_models.model_failures import ModelAway, ModelFailed
from tests.language_models.local.asking import asked, prompt, whole


def model(generator: LocalGenerator, context_tokens: int = 1000) -> LocalModel:
    return LocalModel("tiny", context_tokens, generator.stream, 1, "ask", threads=1)


async def test_an_answer_comes_in_pieces_and_then_whole(generator: LocalGenerator) -> None:
    assert generator.pid is None
    pieces = [each async for each in model(generator).stream(prompt("count 3"))]
    tokens = Tokens(input=3, output=2, cached=0)
    assert pieces == ["0 ", "1 ", "2 ", Generated(text="0 1 2 ", model="tiny", tokens=tokens)]
    assert await model(generator).generate(prompt("count 1")) == Generated(
        text="0 ", model="tiny", tokens=Tokens(input=3, output=2, cached=1)
    )


async def test_no_world_sees_how_much_of_its_prompt_another_world_has_just_asked(
    generator: LocalGenerator,
) -> None:
    said = [(await whole(generator.stream(asked("same?", world))))[0] for world in (1, 1, 2, 1)]
    assert said == ["False", "True", "False", "False"]


async def test_an_answer_ends_when_nobody_listens_and_the_model_stays(generator: LocalGenerator) -> None:
    async with aclosing(generator.stream(asked("wait"))) as pieces:
        assert await anext(pieces) == "waiting"
        pid = generator.pid
    assert (await whole(generator.stream(asked("pid"))))[0] == str(pid)


async def test_an_answer_ends_when_its_task_is_cancelled(generator: LocalGenerator) -> None:
    waiting = asyncio.create_task(model(generator).generate(prompt("wait")))
    while generator.pid is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await model(generator).generate(prompt("count 1"))).text == "0 "


async def test_a_model_that_does_not_listen_is_ended(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_generator, "_LEAVING", 0.05)
    async with aclosing(generator.stream(asked("deaf"))) as pieces:
        await anext(pieces)
        pid = generator.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (await model(generator).generate(prompt("count 1"))).text == "0 "


async def test_a_model_that_dies_is_away_and_the_next_call_starts_another(generator: LocalGenerator) -> None:
    with pytest.raises(ModelAway, match="ended in mid-work"):
        await model(generator).generate(prompt("die"))
    assert (await model(generator).generate(prompt("count 1"))).text == "0 "


async def test_a_process_that_cannot_be_started_again_means_that_the_model_is_away(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model(generator).generate(prompt("count 1"))

    async def cannot_start(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(WorkerProcess, "call", cannot_start)
    with pytest.raises(ModelAway, match=r"cannot be started \(Too many open files\)"):
        await model(generator).generate(prompt("count 1"))


async def test_an_answer_without_end_is_ended(
    generator: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await model(generator).generate(prompt("count 1"))
    monkeypatch.setattr(local_generator, "_ANSWERING", {"ask": 0.2})
    with pytest.raises(ModelAway, match="not done after"):
        await model(generator).generate(prompt("deaf"))


async def test_a_prompt_longer_than_the_window_fails_for_good(generator: LocalGenerator) -> None:
    with pytest.raises(ModelFailed) as refused:
        await model(generator).generate(prompt("refuse context"))
    assert refused.value.code == "context"
    with pytest.raises(ModelFailed, match="1000 tokens") as too_long:  # not even sent
        await model(generator).generate(prompt("word " * 10_000))
    assert too_long.value.code == "context"


async def test_a_generator_that_was_closed_is_away(generator: LocalGenerator) -> None:
    waiting = asyncio.create_task(model(generator).generate(prompt("deaf")))
    while generator.pid is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await generator.aclose()
    for call in (waiting, model(generator).generate(prompt("count 1"))):
        with pytest.raises(ModelAway):
            await call


def test_an_answer_gets_what_the_threads_read_while_a_client_waits(generator: LocalGenerator) -> None:
    """90 seconds, at 33 tokens a second and thread, less the time in which the answer is written."""
    offered = {
        (purpose, threads): LocalModel("tiny", 32_768, generator.stream, 1, purpose, threads=threads)
        for purpose in ("ask", "summary")
        for threads in (1, 7)
    }
    assert 2_000 < offered["ask", 1].context_tokens < 90 * 33
    assert offered["ask", 7].context_tokens > 4 * offered["ask", 1].context_tokens
    assert {each.context_tokens for (purpose, _), each in offered.items() if purpose == "summary"} == {32_768}
