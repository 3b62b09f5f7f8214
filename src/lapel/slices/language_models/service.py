"""Language models for other slices: which model answers a slot, the interface to call it, and how it reads
what was said."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from lapel.foundation.core.admission import Admission, NoRoom
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.process_environment import from_parent
from lapel.slices.language_models.budget.token_budget import CountedModel
from lapel.slices.language_models.budget.token_prices import TokenPrices
from lapel.slices.language_models.budget.usage_queries import JOIN_DAY, OF_DAY
from lapel.slices.language_models.estimates import estimated_tokens
from lapel.slices.language_models.failure_words import told_to_client, told_to_log
from lapel.slices.language_models.language_model import (
    EXTRACTIVE,
    FinishReason,
    Generated,
    JsonSchema,
    LanguageModel,
    Message,
    Prompt,
    Purpose,
    Tokens,
)
from lapel.slices.language_models.model_failures import FailureCode, ModelAway, ModelFailed
from lapel.slices.language_models.schema_faults import describe_fault
from lapel.slices.language_models.spoken_lines import SPOKEN_FORMAT, SpokenLines, json_line
from lapel.slices.language_models.structured import added, structured
from lapel.slices.providers.service import LanguageSlot, ProviderFailed, at_vendor, choice_of

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.language_models.engines.remote_model import RemoteModel
    from lapel.slices.language_models.local.local_model import LocalModels
    from lapel.slices.providers.service import SlotChoice

__all__ = [
    "EXTRACTIVE",
    "JOIN_DAY",
    "OF_DAY",
    "SPOKEN_FORMAT",
    "AskedSlot",
    "FailureCode",
    "FinishReason",
    "Generated",
    "JsonSchema",
    "LanguageModel",
    "LanguageModels",
    "LanguageSlot",
    "Message",
    "ModelAway",
    "ModelFailed",
    "Prompt",
    "Purpose",
    "SpokenLines",
    "Tokens",
    "added",
    "describe_fault",
    "estimated_tokens",
    "json_line",
    "structured",
    "told_to_client",
    "told_to_log",
]

AskedSlot: TypeAlias = LanguageSlot | Literal["local"]

# Calls that run in one process at once, and the seconds that a call waits in line.
_PLACES, _PATIENCE = 64, 10.0
# Longer than a remote call lasts (BOUNDS in engines/model_choice.py), also if it is made again without fields
# that the service does not know.
_LONGEST: Mapping[Purpose, timedelta] = {"ask": timedelta(minutes=5), "summary": timedelta(minutes=30)}


class LanguageModels:
    """The language models of this installation. One object per process."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        # A world holds at most half of the places that the others leave, so that a slow service of one
        # project holds up nobody else.
        self._places = Admission(_PLACES, None, patience=_PATIENCE)
        self._local: LocalModels | None = None

    @asynccontextmanager
    async def using(
        self, world_id: int, slot: AskedSlot, *, purpose: Purpose
    ) -> AsyncGenerator[LanguageModel | None]:
        """The model that answers a slot in a world, during the block; None if the extractive engine answers.

        Raises ModelFailed when the slot cannot answer before the operator changes something, ModelAway when
        no place is free in time, and Unavailable when the database is away.
        """
        choice = None if slot == "local" else await self._choice(world_id, slot)
        if choice is None or choice.engine == "local":
            yield self._on_this_machine(world_id, purpose)
            return
        model = self._remote(choice, purpose)
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._places.place(world_id))
            except NoRoom as full:
                raise ModelAway(
                    "Too many calls of language models are running for this project.",
                    how="busy",
                    after=_PATIENCE,
                ) from full
            yield CountedModel(
                model,
                self._ports,
                world_id,
                longest=_LONGEST[purpose],
                thinking_tokens=model.thinking_tokens,
                prices=TokenPrices(
                    input=choice.input_price,
                    cached=choice.cached_price,
                    cache_write=choice.cache_write_price,
                    output=choice.output_price,
                ),
            )

    async def _choice(self, world_id: int, slot: LanguageSlot) -> SlotChoice:
        try:
            async with self._ports.database.acquire() as connection:
                return await choice_of(connection, self._ports.sealer, world_id, slot)
        except ProviderFailed as fault:
            raise ModelFailed("account", fault.message) from fault

    def _on_this_machine(self, world_id: int, purpose: Purpose) -> LanguageModel | None:
        """The local model, in whose line the worlds take turns. None: the extractive engine answers.

        Raises ModelFailed when the operator has named a model that cannot be used.
        """
        if self._local is None:
            # Imported on demand, because most installations have no model.
            from lapel.slices.language_models.local.local_model import LocalModels  # noqa: PLC0415

            self._local = LocalModels(self._ports.settings, is_alone=from_parent().pid is None)
        return self._local.model(world_id, purpose)

    async def aclose(self) -> None:
        """End the local model's process, if this process has one of its own."""
        if self._local is not None:
            await self._local.aclose()

    def _remote(self, choice: SlotChoice, purpose: Purpose) -> RemoteModel:
        # Imported on demand, because most processes of an installation without remote models never call one.
        from lapel.slices.language_models.engines.model_choice import BOUNDS, remote_model  # noqa: PLC0415

        return remote_model(
            choice,
            own=at_vendor(choice),
            bounds=BOUNDS[purpose],
            clock=self._ports.clock,
            policy=OutboundPolicy.of(self._ports.settings),
        )
