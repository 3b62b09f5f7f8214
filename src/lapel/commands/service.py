"""The rules of commands: each takes effect at most once, ends by the clock, and is settled by its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.commands.wire import Command, GrantClaims, StoredCommand
from lapel.foundation.clock import timestamp, timestamp_or_none

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.actors import Mode
    from lapel.foundation.kit import Kit

_decode_stored = msgspec.json.Decoder(list[StoredCommand]).decode


class Commands:
    """What can be done with commands."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    def present(
        self, stored: StoredCommand, *, now: datetime, project_id: str, mode: Mode, serial_number: str
    ) -> Command:
        """A command as every answer shows it, with its token signed. `mode`: of its world. Some 50 µs."""
        claims = GrantClaims(
            sub=stored.device_id,
            aud=f"device:{serial_number}",
            jti=stored.id,
            iat=int(stored.created_at.timestamp()),
            exp=int(stored.expires_at.timestamp()),
            type=stored.type,
            params=stored.params,
            project=project_id,
            world=mode,
            binding_generation=stored.binding_generation,
        )
        is_open = stored.status in ("pending", "delivered")
        return Command(
            id=stored.id,
            device_id=stored.device_id,
            project_id=project_id,
            end_user_id=stored.end_user_id,
            type=stored.type,
            status="expired" if is_open and stored.expires_at <= now else stored.status,
            params=stored.params,
            grant_token=self._kit.signer.sign(claims),
            result=stored.result,
            error=stored.error,
            expires_at=timestamp(stored.expires_at),
            delivered_at=timestamp_or_none(stored.delivered_at),
            executed_at=timestamp_or_none(stored.executed_at),
            created_at=timestamp(stored.created_at),
        )

    def present_all(
        self, rows: str, *, now: datetime, project_id: str, mode: Mode, serial_number: str
    ) -> list[Command]:
        """`present` for each of a JSON array of command rows, as `jsonb_agg(to_jsonb(c))` writes them."""
        return [
            self.present(each, now=now, project_id=project_id, mode=mode, serial_number=serial_number)
            for each in _decode_stored(rows)
        ]
