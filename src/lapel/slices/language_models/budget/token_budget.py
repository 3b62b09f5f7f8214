"""The tokens that a world may use in a day: reserved before a call, counted after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.slices.language_models.budget import usage_queries
from lapel.slices.language_models.budget.token_prices import TokenPrices
from lapel.slices.language_models.estimates import estimated_tokens
from lapel.slices.language_models.language_model import Generated, Tokens, whole_answer
from lapel.slices.language_models.model_failures import ModelFailed

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.language_models.language_model import LanguageModel, Prompt

_MOST_OF_ALL = 2**53 - 1  # the largest integer that JSON readers represent exactly
_KEPT = timedelta(days=400)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class CountedModel:
    """A LanguageModel whose calls count against its world's day (UTC).

    `thinking_tokens`: what the model may write beside the answer. `longest`: longer than any call lasts. If a
    process is killed during a call, what the call reserved counts for so long.
    """

    def __init__(
        self,
        model: LanguageModel,
        ports: Ports,
        world_id: int,
        *,
        longest: timedelta,
        thinking_tokens: int = 0,
        prices: TokenPrices | None = None,
    ) -> None:
        self.name = model.name
        self.context_tokens = model.context_tokens
        self.reads_claims = model.reads_claims
        self._model = model
        self._ports = ports
        self._world_id = world_id
        self._longest = longest
        self._thinking_tokens = thinking_tokens
        self._prices = prices or TokenPrices()

    async def generate(self, prompt: Prompt) -> Generated:
        """See `LanguageModel.generate`.

        Raises ModelFailed (`budget`) if the estimate of the input, and the most that the model may write, are
        more than what is left of the day; Unavailable when the database is away, and what the model raises.
        """
        return await whole_answer(self.stream(prompt))

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """See `LanguageModel.stream`. Raises what `generate` raises."""
        sent = tokens_of(prompt)
        day, reservation = await self._reserve(sent + prompt.max_tokens + self._thinking_tokens)
        used, written = Tokens(), ""
        try:
            async with aclosing(self._model.stream(prompt)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Generated):
                        used = _known(piece.tokens, sent, piece.text)
                    else:
                        written += piece
                    yield piece
        finally:
            if written and not used.output:  # it broke off, or its reader left
                used = Tokens(input=sent, output=estimated_tokens(written))
            await asyncio.shield(self._settle(day, reservation, used))

    async def _reserve(self, tokens: int) -> tuple[date, int]:
        """The day on which the tokens count, and their reservation."""
        now = self._ports.clock.now()
        day, limit = now.astimezone(UTC).date(), self._ports.settings.language_tokens_per_day
        async with self._ports.database.transaction() as connection:
            await usage_queries.forget(connection, self._world_id, day - _KEPT)
            most = limit or _MOST_OF_ALL
            reservation = await usage_queries.reserve(
                connection,
                self._world_id,
                day,
                tokens,
                most=most,
                seconds=self._longest.total_seconds(),
            )
            if reservation is None:
                raise ModelFailed("budget", refusal(limit, now))
        return day, reservation

    async def _settle(self, day: date, reservation: int, used: Tokens) -> None:
        cost = self._prices.cost_micros(used)
        try:
            async with self._ports.database.transaction() as connection:
                await usage_queries.settle(connection, self._world_id, day, reservation, used, cost)
        except Unavailable as fault:  # the answer is there; the reservation ends by itself
            _log.warning("language_models.not_counted", world=self._world_id, error=str(fault))


def tokens_of(prompt: Prompt) -> int:
    """An estimate of a prompt's tokens, with its schema."""
    texts = [prompt.instructions, *(each.text for each in prompt.messages)]
    if prompt.schema is not None:
        texts.append(str(prompt.schema))
    return sum(estimated_tokens(each) + 4 for each in texts)


def refusal(limit: int, now: datetime) -> str:
    """The message if too few tokens are left, with the time from which models answer again."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        f"Language models may use {limit} tokens per day (UTC) for this project, and too few are left today. "
        f"Ask again after {today + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}."
    )


def _known(told: Tokens, sent: int, text: str) -> Tokens:
    """The tokens of a call; estimates where the engine does not tell them."""
    return Tokens(
        input=sent if told.input is None else told.input,
        output=estimated_tokens(text) if told.output is None else told.output,
        cached=told.cached,
        cache_written=told.cache_written,
    )
