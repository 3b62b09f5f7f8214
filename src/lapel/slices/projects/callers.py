"""What a caller may know of its own token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from lapel.foundation.core.clock import timestamp_or_none
from lapel.foundation.core.errors import Unauthorized
from lapel.slices.projects import issuing, queries
from lapel.slices.projects.rows import WorldRow
from lapel.slices.projects.wire import TokenFacts

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.end_users.service import EndUsers


class Callers:
    """Describes the token with which a request comes, without the token."""

    def __init__(self, ports: Ports, end_users: EndUsers) -> None:
        self._ports = ports
        self._end_users = end_users

    async def describe(self, actor: Actor) -> TokenFacts:
        """The kind of the caller's token, the data that it reaches, and its end.

        Raises Unauthorized when the token has ended meanwhile, and Unavailable while the database is
        unavailable.
        """
        if actor.kind == "key":
            return await self._describe_key(actor)
        facts = TokenFacts(
            kind="device", project_id=actor.project_id, mode=actor.mode, end_user_id=actor.end_user_id
        )
        if actor.kind == "end_user":
            token = await self._end_users.token_facts(actor.world_id, actor.id)
            if token is None:
                raise Unauthorized("This token is unknown, revoked or expired.")
            return replace(facts, kind="end_user", expires_at=token.expires_at)
        if actor.kind == "upload":
            ends = timestamp_or_none(actor.expires_at)
            return replace(facts, kind="upload", recording_id=actor.id, expires_at=ends)
        return replace(facts, device_id=actor.id)

    async def _describe_key(self, actor: Actor) -> TokenFacts:
        async with self._ports.database.acquire() as connection:
            row = await queries.read_key(connection, actor.world_id, actor.id)
        if row is None or not issuing.works(row, self._ports.clock.now()):
            raise Unauthorized("This key is unknown, revoked or expired.")
        key = issuing.api_key(row, WorldRow(actor.world_id, actor.project_id, actor.mode))
        return TokenFacts(
            kind=key.kind,
            id=key.id,
            name=key.name,
            project_id=key.project_id,
            mode=key.mode,
            scopes=key.scopes,
            end_user_id=key.end_user_id,
            expires_at=key.expires_at,
        )
