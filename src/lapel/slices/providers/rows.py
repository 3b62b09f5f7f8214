"""The rows that the queries of the slice read."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.slices.providers.choice import Engine, Slot


class SlotRow(msgspec.Struct, frozen=True):
    """The settings of a slot in a world. Prices are millionths of a US dollar for a million tokens."""

    world_id: int
    slot: Slot
    engine: Engine
    model: str | None
    base_url: str | None
    sealed_key: bytes | None
    allow_training: bool
    context_tokens: int | None
    input_price: int | None
    cached_price: int | None
    cache_write_price: int | None
    output_price: int | None
    updated_at: datetime


class OperatorSlotRow(SlotRow, frozen=True):
    """The settings of a slot, with the project and the mode of its world."""

    project_id: str
    mode: Mode


class EngineCountRow(msgspec.Struct, frozen=True):
    """In how many worlds an engine answers a slot."""

    slot: Slot
    engine: Engine
    worlds: int
