"""A language model that says what a test tells it to, and a server that uses it."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from lapel import app
from lapel.foundation.slices import Services, Slice
from lapel.slices.language_models.service import (
    AskedSlot,
    Generated,
    LanguageModel,
    LanguageModels,
    Prompt,
    Purpose,
    Tokens,
)
from lapel.slices.language_models.slice import SLICE as LANGUAGE_MODELS

TOKENS = Tokens(input=90, output=9, cached=3)
Script = Callable[[Prompt], AsyncGenerator[str | Generated]]


class ScriptedModel:
    """One model; `prompts` are those that it got."""

    def __init__(self, script: Script, context_tokens: int = 100_000) -> None:
        self.name = "scripted-1"
        self.context_tokens = context_tokens
        self.reads_claims = False
        self.prompts: list[Prompt] = []
        self._script = script

    async def generate(self, prompt: Prompt) -> Generated:
        """Not used by Ask."""
        raise AssertionError(prompt)

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """What the script says."""
        self.prompts.append(prompt)
        return self._script(prompt)


class ScriptedModels(LanguageModels):
    """The models of a test: by world. A world without one is answered by the extractive engine."""

    def __init__(self) -> None:
        self.of_world: dict[int, ScriptedModel | Exception] = {}

    @asynccontextmanager
    async def using(
        self, world_id: int, slot: AskedSlot, *, purpose: Purpose
    ) -> AsyncGenerator[LanguageModel | None]:
        """The world's model."""
        assert (purpose, slot) != ("ask", "local")
        found = self.of_world.get(world_id)
        if isinstance(found, Exception):
            raise found
        yield found


def _build(_services: Services) -> Sequence[object]:
    return (ScriptedModels(),)


SLICES: tuple[Slice, ...] = tuple(
    dataclasses.replace(each, build=_build) if each is LANGUAGE_MODELS else each for each in app.SLICES
)


def says(*pieces: str, reason: str = "stop", tokens: Tokens = TOKENS) -> Script:
    """Pieces of text, and then the end. `{word}` is the number of the first passage with the word."""

    async def run(prompt: Prompt) -> AsyncGenerator[str | Generated]:
        for piece in filled(prompt, pieces):
            yield piece
            await asyncio.sleep(0)
        yield Generated(text="".join(pieces), model="scripted-1", tokens=tokens, finish_reason=reason)  # pyright: ignore[reportArgumentType]

    return run


def filled(prompt: Prompt, pieces: Sequence[str]) -> list[str]:
    """The pieces with numbers of passages."""
    return [re.sub(r"\{(\w+)\}", lambda found: number_of(prompt, found[1]), piece) for piece in pieces]


def number_of(prompt: Prompt, word: str) -> str:
    """The number of the first passage that has a word."""
    for line in prompt.messages[0].text.splitlines():
        passage = re.match(r"(\d+)[^|]*\| ", line)
        if passage is not None and word in line:
            return passage[1]
    raise AssertionError(f"no passage has {word}: {prompt.messages[0].text}")


class Gate:
    """A script that waits in its middle until the test lets it go on."""

    def __init__(self, *before: str, after: Sequence[str] = ()) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()
        self._before = before
        self._after = after

    async def __call__(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The script."""
        try:
            for piece in filled(prompt, self._before):
                yield piece
            self.reached.set()
            await self.opened.wait()
            for piece in filled(prompt, self._after):
                yield piece
            yield Generated(text="", model="scripted-1", tokens=Tokens())
        finally:
            self.ended.set()


def models_of(services: Services) -> ScriptedModels:
    """The models of a server that runs with SLICES."""
    return services[ScriptedModels]
