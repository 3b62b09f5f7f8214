"""The events of the configuration: `config.updated`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database import outbox
from lapel.slices.configuration.merging import nested
from lapel.slices.configuration.queries import OverrideRow
from lapel.slices.configuration.sections import SECTIONS
from lapel.slices.configuration.views import json_of, shown
from lapel.slices.configuration.wire import ConfigUpdate, ConfigUpdateEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.configuration.merging import Flat
    from lapel.slices.configuration.sections import Level, Section


async def publish_update(
    connection: Connection, ids: Ids, now: datetime, world_id: int, update: ConfigUpdate, about: str | None
) -> None:
    """Write one event about an override that was just changed; its revision makes it the only one.

    `about`: the end user who is the subject, or who wears the device; the event is erased with this end user.
    """
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type="config.updated",
        resource_id=update.id,
        data=_data(update),
        dedupe=f"config.updated:{update.id}:{update.section}:{update.config_revision}",
        end_user_id=about,
    )


def update_of(
    level: Level,
    subject_id: str,
    section: Section,
    before: Flat,
    after: Flat,
    rows: Iterable[OverrideRow],
    *,
    project_id: str,
    revision: int,
) -> ConfigUpdate:
    """A changed override of a subject. `rows`: the overrides that apply to the subject after the change."""
    result = shown(section, rows)
    return ConfigUpdate(
        id=subject_id,
        project_id=project_id,
        level=level,
        section=section.name,
        before=json_of(nested(before) or None),
        after=json_of(nested(after) or None),
        value=result.value,
        source=result.source,
        config_revision=revision,
    )


def _data(update: ConfigUpdate) -> bytes:
    return msgspec.json.encode(ConfigUpdateEvent(**msgspec.structs.asdict(update), config=update))


def _sample(_ids: Ids, _now: datetime, project_id: str) -> outbox.EventSample:
    section, after = SECTIONS["retention"], {"audio_days": 30}
    rows = [OverrideRow("project", section.name, '{"audio_days": 30}')]
    update = update_of("project", project_id, section, {}, after, rows, project_id=project_id, revision=2)
    return outbox.EventSample(project_id, _data(update))


SAMPLES: Mapping[str, outbox.SampleMaker] = {"config.updated": _sample}
