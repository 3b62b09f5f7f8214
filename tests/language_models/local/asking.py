"""Prompts for the scripted model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from lapel.slices.language_models.language_model import Message, Prompt, Purpose
from lapel.slices.language_models.local.generation_messages import Asked, Finished


def prompt(text: str, max_tokens: int = 20) -> Prompt:
    return Prompt(instructions="", messages=[Message(role="user", text=text)], max_tokens=max_tokens)


def asked(text: str, world: int = 1, purpose: Purpose = "ask") -> Asked:
    return Asked(world=world, purpose=purpose, prompt=prompt(text))


async def whole(stream: AsyncGenerator[str | Finished]) -> tuple[str, Finished]:
    said: list[str] = []
    async with aclosing(stream) as pieces:
        async for each in pieces:
            if isinstance(each, Finished):
                return "".join(said), each
            said.append(each)
    raise AssertionError("the answer has no end")
