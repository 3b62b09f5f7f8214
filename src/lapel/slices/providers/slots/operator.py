"""The operator's settings of slots, per world of a project: which engine answers a slot, and with which key.

The command line uses this module, whether the server is running or not. Every change is recorded in the
world's audit log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lapel.foundation.core.clock import timestamp_or_none
from lapel.foundation.core.errors import InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.projects.service import Projects, find_world, lock_world
from lapel.slices.providers.choice import SLOTS, Engine, Slot, SlotChoice, dollars
from lapel.slices.providers.slots import slot_queries
from lapel.slices.providers.slots.regions import address_of, region_of
from lapel.slices.providers.slots.slot_checks import (
    checked_base_url,
    checked_choice,
    checked_engine,
    checked_slot,
)
from lapel.slices.providers.slots.slots import choice_of, opened, sealed

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Mode
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.rows import SlotRow

T = TypeVar("T")
# Fewest characters of a key whose last four are shown.
_LONG_ENOUGH = 12


class SlotShown(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a slot, as the operator sees them.

    `key`: the last four characters of the key, "set" for a short key, or "unreadable"; null without a key.
    `region`: the preset with this address; null for the local engine, and for other addresses.
    Prices: US dollars for a million tokens.
    """

    slot: Slot
    project_id: str
    mode: Mode
    engine: Engine
    model: str | None
    base_url: str | None
    region: str | None
    allow_training: bool
    context_tokens: int | None
    input_price: float | None
    cached_price: float | None
    cache_write_price: float | None
    output_price: float | None
    key: str | None
    updated_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """New settings of a slot. A setting that is None stays as it is.

    But if the engine changes, such a setting gets the new engine's default. `region` names a preset instead
    of `base_url`.
    """

    engine: str | None = None
    model: str | None = None
    base_url: str | None = None
    region: str | None = None
    allow_training: bool | None = None
    context_tokens: int | None = None
    input_price: Decimal | None = None
    cached_price: Decimal | None = None
    cache_write_price: Decimal | None = None
    output_price: Decimal | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    id: int
    project_id: str


class OperatorProviders:
    """The slots of one world of a project. `project_id`: None for the only project that exists.

    Every method raises NotFound when the project is unknown or no project exists, Conflict when `project_id`
    is None and several projects exist, and Unavailable when the database is away.
    """

    def __init__(self, ports: Ports, *, mode: Mode, project_id: str | None = None) -> None:
        self._ports = ports
        self._mode: Mode = mode
        self._project_id = project_id

    async def list(self) -> list[SlotShown]:
        """All slots, in the order of `SLOTS`."""
        project_id = await self._project()
        async with self._ports.database.acquire() as connection:
            world = await self._world(connection, project_id)
            rows = {row.slot: row for row in await slot_queries.list_slots(connection, world.id)}
        return [self._shown(world, slot, rows.get(slot)) for slot in SLOTS]

    async def choice(self, slot: str) -> SlotChoice:
        """The engine of a slot, with the key.

        Raises InvalidRequest when there is no such slot, ProviderFailed when the key can no longer be read.
        """
        name = checked_slot(slot)
        project_id = await self._project()
        async with self._ports.database.acquire() as connection:
            world = await self._world(connection, project_id)
            return await choice_of(connection, self._ports.sealer, world.id, name)

    async def set(self, slot: str, wanted: Wanted) -> SlotShown:
        """Let an engine answer a slot. The slot's key is sealed again, under the present secret.

        A key belongs to the address that it was given for. If the address changes, the key must be given
        again. Raises InvalidRequest when a setting is not valid, or when the key must be given again.
        """
        name = checked_slot(slot)
        project_id = await self._project()
        async with self._ports.database.transaction() as connection:
            world = await self._world(connection, project_id, lock=True)
            row = await slot_queries.read(connection, world.id, name)
            choice = self._changed(name, row, wanted)
            await self._put(connection, world, choice)
            written = await slot_queries.read(connection, world.id, name)
            if row is None or wanted.key is not None or _facts(row) != _facts(written):
                await self._record(connection, world, name, row, written)
        return self._shown(world, name, written)

    async def remove(self, slot: str) -> SlotShown:
        """Let the local engine answer a slot, and delete the key.

        Raises InvalidRequest when there is no such slot.
        """
        name = checked_slot(slot)
        project_id = await self._project()
        async with self._ports.database.transaction() as connection:
            world = await self._world(connection, project_id, lock=True)
            row = await slot_queries.read(connection, world.id, name)
            if row is not None:
                await slot_queries.delete(connection, world.id, name)
                await self._record(connection, world, name, row, None)
        return self._shown(world, name, None)

    def _changed(self, slot: Slot, row: SlotRow | None, wanted: Wanted) -> SlotChoice:
        """The new settings, merged with the stored ones and checked. Raises InvalidRequest, as `set` does."""
        engine = checked_engine(wanted.engine or (row.engine if row else None), slot)
        before = row if row is not None and row.engine == engine else None
        base_url = _address(engine, before, wanted, OutboundPolicy.of(self._ports.settings))
        key = wanted.key
        if key is None and before is not None and before.sealed_key is not None:
            if base_url != before.base_url:
                raise InvalidRequest("The key was given for another address; give it again.", param="key")
            key = self._key(before)
            if key is None:
                raise InvalidRequest("The key was sealed under another secret; give it again.", param="key")
        training = wanted.allow_training
        return checked_choice(
            SlotChoice(
                slot=slot,
                engine=engine,
                model=_first(wanted.model, before and before.model),
                base_url=base_url,
                key=key,
                allow_training=bool(before and before.allow_training) if training is None else training,
                context_tokens=_first(wanted.context_tokens, before and before.context_tokens),
                input_price=_first(wanted.input_price, dollars(before and before.input_price)),
                cached_price=_first(wanted.cached_price, dollars(before and before.cached_price)),
                cache_write_price=_first(
                    wanted.cache_write_price, dollars(before and before.cache_write_price)
                ),
                output_price=_first(wanted.output_price, dollars(before and before.output_price)),
            )
        )

    async def _put(self, connection: Connection, world: _World, choice: SlotChoice) -> None:
        key = sealed(self._ports.sealer, world.id, choice)
        await slot_queries.put(connection, world.id, choice, key, self._ports.clock.now())

    async def _record(
        self,
        connection: Connection,
        world: _World,
        slot: Slot,
        before: SlotRow | None,
        after: SlotRow | None,
    ) -> None:
        await audit.record(
            connection,
            self._ports.ids,
            self._ports.clock.now(),
            worlds=[world.id],
            actor=None,
            change=audit.Change(
                action="provider.removed" if after is None else "provider.updated",
                resource_type="provider",
                resource_id=slot,
                before=self._told(before),
                after=self._told(after),
            ),
            about=None,
        )

    def _told(self, row: SlotRow | None) -> dict[str, str | float | None] | None:
        """A row as it is written to the audit log."""
        return None if row is None else _facts(row) | {"key": self._hint(row)}

    def _shown(self, world: _World, slot: Slot, row: SlotRow | None) -> SlotShown:
        return SlotShown(
            slot=slot,
            project_id=world.project_id,
            mode=self._mode,
            engine=row.engine if row else "local",
            model=row.model if row else None,
            base_url=row.base_url if row else None,
            region=region_of(row.engine, row.base_url) if row else None,
            allow_training=row.allow_training if row else False,
            context_tokens=row.context_tokens if row else None,
            input_price=_price(row.input_price if row else None),
            cached_price=_price(row.cached_price if row else None),
            cache_write_price=_price(row.cache_write_price if row else None),
            output_price=_price(row.output_price if row else None),
            key=self._hint(row) if row else None,
            updated_at=timestamp_or_none(row.updated_at) if row else None,
        )

    def _hint(self, row: SlotRow) -> str | None:
        if row.sealed_key is None:
            return None
        key = self._key(row)
        if key is None:
            return "unreadable"
        return f"…{key[-4:]}" if len(key) >= _LONG_ENOUGH else "set"

    def _key(self, row: SlotRow) -> str | None:
        """The row's key; None when it was sealed under an unknown secret."""
        try:
            return opened(self._ports.sealer, row)
        except SealBroken:
            return None

    async def _project(self) -> str:
        """The id of the named project. If none is named, the id of the only project."""
        return await Projects(self._ports).named(self._project_id)

    async def _world(self, connection: Connection, project_id: str, *, lock: bool = False) -> _World:
        """The world of the project. `lock`: lock the world, so that its slots change one after the other."""
        world_id = await (lock_world if lock else find_world)(connection, project_id, self._mode)
        if world_id is None:
            raise NotFound("There is no project with this id.", param="project_id")
        return _World(id=world_id, project_id=project_id)


def _first(wanted: T | None, stored: T | None) -> T | None:
    return stored if wanted is None else wanted


def _price(millionths: int | None) -> float | None:
    price = dollars(millionths)
    return None if price is None else float(price)


def _address(engine: Engine, before: SlotRow | None, wanted: Wanted, policy: OutboundPolicy) -> str | None:
    """The new base URL; None for the engine's default. Raises InvalidRequest if URL or region is invalid."""
    if wanted.region is not None and wanted.base_url is not None:
        raise InvalidRequest("Give a region or an address, not both.", param="region")
    if wanted.region is not None:
        return address_of(engine, wanted.region)
    if wanted.base_url is not None:
        return checked_base_url(wanted.base_url, policy)
    return before.base_url if before else None


def _facts(row: SlotRow | None) -> dict[str, str | float | None]:
    if row is None:
        return {}
    return {
        "engine": row.engine,
        "model": row.model,
        "base_url": row.base_url,
        "allow_training": row.allow_training,
        "context_tokens": row.context_tokens,
        "input_price": _price(row.input_price),
        "cached_price": _price(row.cached_price),
        "cache_write_price": _price(row.cache_write_price),
        "output_price": _price(row.output_price),
    }
