"""Language models for other slices: which model answers a slot, and the interface to call it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from lapel.slices.language_models.estimates import estimated_tokens
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
from lapel.slices.language_models.structured import added, structured

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

__all__ = [
    "EXTRACTIVE",
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
    "Tokens",
    "added",
    "estimated_tokens",
    "structured",
]

# The names for which an operator sets engines. `local` is always the engine of this installation.
LanguageSlot: TypeAlias = Literal["gemini", "openai", "claude"]
AskedSlot: TypeAlias = LanguageSlot | Literal["local"]


class LanguageModels:
    """The language models of this installation. One object per process."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    @asynccontextmanager
    async def using(
        self, world_id: int, slot: AskedSlot, *, purpose: Purpose
    ) -> AsyncGenerator[LanguageModel | None]:
        """The model that answers a slot in a world, during the block; None if the extractive engine answers.

        Raises ModelFailed when the slot cannot answer before the operator changes something, and ModelAway
        when no place is free in time.
        """
        del world_id, slot, purpose
        yield None
