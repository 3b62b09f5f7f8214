"""Measures the local language model: `python -m tests.language_models.local.measure [THREADS]`.

Prints the time to load, tokens per second of prompts and of answers, and the memory of the model's process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import psutil

from lapel.settings import Settings
from lapel.slices.language_models.language_model import Generated, Message, Prompt
from lapel.slices.language_models.local.language_weights import find
from lapel.slices.language_models.local.local_generator import LocalGenerator
from lapel.slices.language_models.local.local_model import LocalModel

LINES = 16  # some 400 tokens
ANSWER = 60


async def measure(threads: str) -> None:
    weights = find("auto")
    if weights is None:
        raise SystemExit("The local language model is not installed: make local-llm.")
    settings = Settings.from_env({"HOME": "/nowhere", "LAPEL_LANGUAGE_MODEL_THREADS": threads})
    generator = LocalGenerator(weights, settings)
    try:
        await _measure(LocalModel(weights.name, 8192, generator.stream, 1, "summary", threads=1), generator)
    finally:
        await generator.aclose()


async def _measure(model: LocalModel, generator: LocalGenerator) -> None:
    began = time.monotonic()
    await model.generate(_prompt("Hello", 1))
    print(f"load and first token  {time.monotonic() - began:.1f} s")
    text = "\n".join(
        f"Speaker {n % 3 + 1}: we have looked at item {n} and will speak of it again on day {n % 28 + 1}."
        for n in range(LINES)
    )
    began, first = time.monotonic(), 0.0
    async for each in model.stream(_prompt(f"Retell this:\n{text}", ANSWER)):
        first = first or time.monotonic()
        if isinstance(each, Generated):
            read, wrote = each.tokens.input or 0, each.tokens.output or 0
            print(f"prompt of {read} tokens  {read / (first - began):.0f} tokens/s")
            print(f"answer of {wrote} tokens  {(wrote - 1) / (time.monotonic() - first):.1f} tokens/s")
    assert generator.pid is not None
    lines = Path(f"/proc/{generator.pid}/status").read_text().splitlines()  # noqa: ASYNC240
    kept = [line for line in lines if line.startswith(("VmPeak", "VmHWM", "RssAnon", "RssFile"))]
    print("\n".join(kept))
    print(f"threads {psutil.Process(generator.pid).num_threads()}, load average {os.getloadavg()[0]:.1f}")


def _prompt(text: str, max_tokens: int) -> Prompt:
    messages = [Message(role="user", text=text)]
    return Prompt(instructions="Do as you are asked.", messages=messages, max_tokens=max_tokens)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1] if len(sys.argv) > 1 else "0"))
