"""The local language model as a LanguageModel, and how a process of Lapel reaches it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lapel.slices.language_models.estimates import estimated_tokens
from lapel.slices.language_models.language_model import Generated, Tokens
from lapel.slices.language_models.local.generation_messages import LARGEST, Asked, Finished
from lapel.slices.language_models.local.generation_server import stream_from
from lapel.slices.language_models.local.gguf import read_facts
from lapel.slices.language_models.local.language_weights import find
from lapel.slices.language_models.local.local_generator import LocalGenerator, threads_of
from lapel.slices.language_models.model_failures import ModelAway, ModelFailed

if TYPE_CHECKING:
    from lapel.settings import Settings
    from lapel.slices.language_models.language_model import Prompt, Purpose
    from lapel.slices.language_models.local.language_weights import LanguageWeights

Source: TypeAlias = Callable[[Asked], AsyncGenerator[str | Finished]]
# An estimate is about 1.3 times the truth, or more for other scripts. A prompt beyond this multiple of the
# window is not sent.
_SURELY = 4
# A client waits 90 seconds for an answer. One thread reads about 33 tokens a second, so it reads so many in
# half of this time, also by an estimate that is too high; beside them, the answer has room.
_READ_BY_THREAD = 1_500
_ANSWER = 1_224


class LocalModel:
    """The local language model, for one world and purpose. A LanguageModel.

    `window`: the tokens of prompt and answer together. `threads`: of the model. `context_tokens` for `ask` is
    less than a long window: what so many threads read while a client waits.
    """

    reads_claims = False

    def __init__(
        self, name: str, window: int, source: Source, world: int, purpose: Purpose, *, threads: int
    ) -> None:
        self.name = name
        in_time = threads * _READ_BY_THREAD + _ANSWER
        self.context_tokens = min(window, in_time) if purpose == "ask" else window
        self._window = window
        self._source = source
        self._world = world
        self._purpose: Purpose = purpose

    async def generate(self, prompt: Prompt) -> Generated:
        """The whole answer. Raises ModelFailed, ModelAway: see `stream`."""
        async with contextlib.aclosing(self.stream(prompt)) as answer:
            async for each in answer:
                if isinstance(each, Generated):
                    return each
        raise ModelAway("The local language model ended its answer early.")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The answer in pieces of text as they come, and then one Generated with the whole answer.

        Raises ModelFailed (`context`: the prompt is longer than the window; `engine`) and ModelAway.
        """
        texts = [prompt.instructions, *(each.text for each in prompt.messages)]
        if sum(map(len, texts)) > LARGEST // 8 or (
            sum(map(estimated_tokens, texts)) > _SURELY * self._window
        ):
            raise ModelFailed(
                "context", f"The prompt is longer than the {self._window} tokens of the local model."
            )
        said: list[str] = []
        asked = Asked(world=self._world, purpose=self._purpose, prompt=prompt)
        async with contextlib.aclosing(self._source(asked)) as answer:
            async for each in answer:
                if isinstance(each, str):
                    said.append(each)
                    yield each
                else:
                    yield self._whole("".join(said), each)

    def _whole(self, text: str, finished: Finished) -> Generated:
        if finished.finish_reason == "interrupted":
            raise ModelAway("The local language model was interrupted.")
        tokens = Tokens(input=finished.input, output=finished.output, cached=finished.cached)
        return Generated(text=text, model=self.name, tokens=tokens, finish_reason=finished.finish_reason)


class _Found(NamedTuple):
    """The model that was looked for, which a process does once."""

    weights: LanguageWeights | None
    context_tokens: int


class LocalModels:
    """How one process of Lapel reaches the local language model. One object per process.

    The processes of `lapel serve` share one model, which they reach through the socket of the process that
    serves it, see generation_server.py. A process without a parent of ours, such as a command, has a model of
    its own while it uses it.
    """

    def __init__(self, settings: Settings, *, is_alone: bool) -> None:
        """`is_alone`: this process has no parent of ours, see `from_parent`."""
        self._settings = settings
        self._socket = settings.language_model_socket
        self._is_alone = is_alone
        self._generator: LocalGenerator | None = None
        self._found: _Found | None = None

    def model(self, world_id: int, purpose: Purpose) -> LocalModel | None:
        """The model, for a world; None if none is installed, or the setting is `extractive`.

        Raises ModelFailed (`engine`) when the setting names a model that cannot be used.
        """
        if self._found is None:
            self._found = self._find()
        weights, context_tokens = self._found.weights, self._found.context_tokens
        if weights is None:
            return None
        source, threads = self._source(weights), threads_of(self._settings)
        return LocalModel(weights.name, context_tokens, source, world_id, purpose, threads=threads)

    def _find(self) -> _Found:
        weights = find(self._settings.language_model)
        if weights is None or (self._socket is None and not self._is_alone):  # installed since the start
            return _Found(None, 0)
        wanted = self._settings.language_model_context
        if weights.packaged is None:
            wanted = min(wanted, read_facts(weights.file, vocabulary=False).context_tokens)
        return _Found(weights, wanted)

    def _source(self, weights: LanguageWeights) -> Source:
        if self._socket is not None:
            path = self._socket
            return lambda asked: stream_from(path, asked)
        if self._generator is None:
            self._generator = LocalGenerator(weights, self._settings)
        return self._generator.stream

    async def aclose(self) -> None:
        """End the model's process, if this process has one of its own."""
        if self._generator is not None:
            await self._generator.aclose()
