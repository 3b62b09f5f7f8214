"""A language model at a service: one streamed call for each prompt, whatever the dialect."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.language_models.engines.sse_reader import AnswerBounds, event_data
from lapel.slices.language_models.engines.text_checks import Growth, Thoughts
from lapel.slices.language_models.language_model import Generated, Tokens, whole_answer
from lapel.slices.language_models.model_failures import FailureCode, ModelAway, ModelFailed
from lapel.slices.providers.http.provider_client import Patience, Service
from lapel.slices.providers.service import ProviderAway, ProviderFailed, RefusedForGood

if TYPE_CHECKING:
    import aiohttp

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.language_models.engines.dialect import Dialect, EventPiece, Feature, ModelRequest
    from lapel.slices.language_models.language_model import FinishReason, Prompt
    from lapel.slices.providers.http.account import Account

# Codes and words by which services say that the prompt is longer than the window.
_TOO_LONG = re.compile(
    r"context[_ -]?(length|size|window)|too long|maximum number of tokens|request_too_large|too many tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[_ ]?(filter|policy|management)|safety", re.IGNORECASE)
# What a server refuses because it does not know it.
_UNKNOWN: Mapping[Feature, re.Pattern[str]] = {
    "limit": re.compile(r"max_(completion_)?tokens", re.IGNORECASE),
    "stream_usage": re.compile(r"stream_options|include_usage", re.IGNORECASE),
    "schema": re.compile(r"response_format|json_schema|structured", re.IGNORECASE),
}


@dataclass(kw_only=True, slots=True)
class _AnswerSoFar:
    """What the events of an answer have told so far."""

    model: str
    tokens: Tokens
    finish: FinishReason | None = None
    refusal: str | None = None


class RemoteModel:
    """A LanguageModel of a service.

    `adapts`: whether the service may refuse fields that it does not know, and is then asked without them.
    `monthly`: whether a 429 without a pause means that the account's limit of the month is reached.
    """

    reads_claims = True

    def __init__(
        self,
        dialect: Dialect,
        account: Account,
        bounds: AnswerBounds,
        *,
        model: str,
        context_tokens: int,
        clock: Clock,
        policy: OutboundPolicy,
        adapts: bool = False,
        monthly: bool = False,
    ) -> None:
        self.name = model
        self.context_tokens = context_tokens
        self.thinking_tokens = dialect.thinking_tokens
        self._dialect = dialect
        self._account = account
        self._bounds = bounds
        self._clock = clock
        self._policy = policy
        self._adapts = adapts
        self._monthly = monthly

    async def generate(self, prompt: Prompt) -> Generated:
        """See `LanguageModel.generate`. Raises ModelFailed and ModelAway."""
        return await whole_answer(self.stream(prompt))

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """See `LanguageModel.stream`. Raises ModelFailed and ModelAway."""
        try:
            async with aclosing(self._asked(prompt)) as pieces:
                async for piece in pieces:
                    yield piece
        except (ProviderFailed, ProviderAway) as fault:
            raise self._failure(fault) from fault

    async def _asked(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The answer. If a service refuses a field that it does not know, it is asked again without it, but
        not after a piece of an answer: that would be followed by a second answer."""
        left_out: frozenset[Feature] = frozenset()
        has_begun = False
        patience = Patience(connect=20.0, answer=self._bounds.first, total=self._bounds.total)
        async with Service(self._account, self._clock, patience, self._policy) as service:
            while True:
                request = self._dialect.request(prompt, left_out)
                try:
                    async with aclosing(self._answered(service, request, prompt)) as pieces:
                        async for piece in pieces:
                            has_begun = True
                            yield piece
                except RefusedForGood as refused:
                    unknown = None if has_begun else self._unknown(refused, left_out)
                    if unknown is None:
                        raise
                    left_out = left_out.union((unknown,))
                else:
                    return

    def _unknown(self, refused: RefusedForGood, left_out: frozenset[Feature]) -> Feature | None:
        """The field that a refusal names."""
        if not self._adapts or refused.status not in (400, 422):
            return None
        for feature, name in _UNKNOWN.items():
            if feature not in left_out and name.search(refused.detail):
                return feature
        return None

    async def _answered(
        self, service: Service, request: ModelRequest, prompt: Prompt
    ) -> AsyncGenerator[str | Generated]:
        told = _AnswerSoFar(model=self.name, tokens=Tokens())
        thoughts, growth = Thoughts(), Growth(self._account.name, prompt.max_tokens)
        async with (
            service.opened(request.path, request.body, request.query) as response,
            aclosing(self._pieces(service, response)) as pieces,
        ):
            async for piece in pieces:
                self._note(piece, told)
                if text := thoughts.without(piece.text):
                    growth.add(text)
                    yield text
        if rest := thoughts.rest():
            growth.add(rest)
            yield rest
        yield self._whole(told, growth.text)

    async def _pieces(self, service: Service, response: aiohttp.ClientResponse) -> AsyncGenerator[EventPiece]:
        """The events of an answer. Raises ProviderFailed and ProviderAway for an error among them."""
        async with aclosing(event_data(response, self._bounds, self._account)) as events:
            async for data in events:
                try:
                    piece = self._dialect.read(data)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
                    raise self._account.unreadable(str(fault)) from fault
                if piece is None:
                    return
                if piece.error is not None:
                    raise service.judge(*piece.error)
                yield piece

    def _note(self, piece: EventPiece, told: _AnswerSoFar) -> None:
        """Take what the piece tells beside its text. Raises ModelFailed if the model has not ended well."""
        if piece.model:
            told.model = self._account.clean(piece.model)
        if piece.tokens is not None:
            told.tokens = _newer(told.tokens, piece.tokens)
        told.finish = piece.finish or told.finish
        told.refusal = (told.refusal or "") + piece.refusal if piece.refusal else told.refusal
        if piece.too_long:
            raise ModelFailed("context", f"The window of {told.model} is too small for this prompt.")
        if piece.unknown is not None:
            why = self._account.clean(piece.unknown)
            raise ModelFailed("engine", f"{told.model} stopped for a reason that is no end: {why}.")

    def _whole(self, told: _AnswerSoFar, text: str) -> Generated:
        """The whole answer. Raises ModelFailed for a refusal, ModelAway if the answer broke off."""
        filtered = told.finish == "content_filter"
        if (told.refusal is not None and not filtered) or (filtered and not text.strip()):
            why = f": {self._account.clean(told.refusal)}" if told.refusal else "."
            raise ModelFailed("refused", f"{told.model} does not answer this{why}")
        if told.finish is None:
            raise ModelAway(f"{self._account.name} broke off its answer.", how="connection")
        return Generated(text=text, model=told.model, tokens=told.tokens, finish_reason=told.finish)

    def _failure(self, fault: ProviderFailed | ProviderAway) -> ModelFailed | ModelAway:
        """The failure of a provider in the words of language models."""
        if isinstance(fault, ProviderAway):
            if self._monthly and fault.status == 429 and fault.after is None:
                message = f"{fault.message} The account's limit is reached."
                return ModelFailed("account", message, status=fault.status)
            return ModelAway(fault.message, how=fault.how, after=fault.after, status=fault.status)
        code: FailureCode = "account" if fault.cause == "account" else "engine"
        if isinstance(fault, RefusedForGood) and code != "account":
            if fault.status == 413 or _TOO_LONG.search(fault.detail):
                code = "context"
            elif _FILTERED.search(fault.detail):
                code = "refused"
        status = fault.status if isinstance(fault, RefusedForGood) else None
        return ModelFailed(code, fault.message, status=status)


def _newer(before: Tokens, after: Tokens) -> Tokens:
    """The figures that came last."""
    return Tokens(
        input=before.input if after.input is None else after.input,
        output=before.output if after.output is None else after.output,
        cached=before.cached if after.cached is None else after.cached,
        cache_written=before.cache_written if after.cache_written is None else after.cache_written,
    )
