"""The rules of end users: unique external ids, one token each, complete deletion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import msgspec

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.core.errors import Conflict, NotFound, ResourceAlreadyExists
from lapel.foundation.database import audit
from lapel.foundation.http.input.fields import given, metadata_text, raw, value_of
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.identity.tokens import new_token
from lapel.slices.end_users import end_user_token_queries, queries
from lapel.slices.end_users.queries import (
    ACTIVE_END_USER,
    COUNT_END_USERS,
    LOCK_END_USER,
    lock_against_deletion,
    lock_even_deleted,
    share,
    share_all,
)
from lapel.slices.end_users.wire import EndUser, EndUserPage, EndUserToken, EndUserTokenFacts
from lapel.slices.erasure.service import forget_reasons, is_held, open_end_user

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.end_users.queries import EndUserRow
    from lapel.slices.end_users.wire import CreateEndUser, EndUserQuery, IssueToken, UpdateEndUser
    from lapel.slices.erasure.service import Cause

__all__ = [
    "ACTIVE_END_USER",
    "COUNT_END_USERS",
    "LOCK_END_USER",
    "EndUsers",
    "Issuer",
    "OnDelete",
    "erase_unless_held",
    "lock_active_end_user",
    "lock_against_deletion",
    "lock_even_deleted",
    "present",
    "share",
    "share_all",
    "unknown",
]

# `(connection, world id, end user id, now)`, called in the deleting transaction. A hook returns the ids of
# the keys that it revoked; the revocation is announced after the commit.
OnDelete: TypeAlias = Callable[["Connection", int, str, datetime], Awaitable[Sequence[str] | None]]


def present(row: str) -> str:
    """SQL for other slices: true if the end user of a row is not deleted, or the row has none.

    The rows of a deleted end user are 404 at once, although a job removes them later. The row of an end user
    stays when all else of them is erased, so it is enough to look for a deleted one, in an index of those few
    (`end_users_deleted`), whose pages stay in memory. A scalar subquery in COALESCE costs one look-up for
    each row, and the planner expects half of the rows. (With `IS NULL` it would expect one row in 200, and
    sort whole tables.) `row`: the alias of the row's table, which has `world_id` and `end_user_id`.
    """
    return f"""COALESCE((
    SELECT false FROM end_users u
    WHERE u.world_id = {row}.world_id AND u.id = {row}.end_user_id AND u.deleted_at IS NOT NULL), true)"""  # noqa: S608 - an alias in our own SQL


# The kinds of callers that read the data of an end user: keys, and end-user tokens.
READERS = frozenset({"key", "end_user"})


class Issuer(ABC):
    """The rules for what a caller's key may issue; see `projects/service.py`."""

    @abstractmethod
    async def end_of_issued(
        self, connection: Connection, actor: Actor, wanted: datetime | msgspec.UnsetType | None
    ) -> datetime | None:
        """The end of an end-user token that the caller's key issues: `wanted`; None: never.

        If `wanted` is unset, the end is that of the settings, but no later than the key's. Raises
        InvalidRequest when `wanted` is in the past, and Forbidden when `wanted` is after the key's end.
        """

    @abstractmethod
    async def check_reissue(self, actor: Actor, expires_at: str | None) -> None:
        """Raises Forbidden when the caller's key could not issue a token that expires at `expires_at`."""


# A write tries again when the end user that has its `external_id` is deleted before that end user is read.
_TRIES = 3


def unknown() -> NotFound:
    """The error for an end user that the caller may not see, that does not exist or that is deleted."""
    return NotFound("There is no end user with this id.")


async def lock_active_end_user(connection: Connection, world_id: int, end_user_id: str) -> None:
    """Keep an end user from being deleted until the transaction ends. Raises NotFound if it is not active.

    Every transaction that stores a row about an end user calls this first. So a deletion waits, and then
    finds the row. The order of locks is the same everywhere: the end user before all other rows.
    """
    if not await queries.lock_against_deletion(connection, world_id, end_user_id):
        raise NotFound("There is no end user with this `end_user_id`.", param="end_user_id")


async def erase_unless_held(connection: Connection, world_id: int, end_user_id: str) -> bool:
    """Erase the fields of a deleted end user, if no hold keeps the end user. Whether they are erased."""
    if not await lock_even_deleted(connection, world_id, end_user_id):
        return False
    if await is_held(connection, world_id, end_user_id):
        return False
    await queries.erase_person(connection, world_id, end_user_id)
    await forget_reasons(connection, world_id, [end_user_id])
    return True


class EndUsers:
    """Operations on end users.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, issuer: Issuer) -> None:
        """`issuer` limits the lifetime of a token."""
        self._ports = ports
        self._issuer = issuer
        # Hooks that delete or revoke the rows of an end user. The deleting transaction calls them in this
        # order.
        self.on_delete: Final[list[OnDelete]] = []

    async def create(self, connection: Connection, actor: Actor, body: CreateEndUser) -> EndUser:
        """Add an end user.

        Raises:

        - ResourceAlreadyExists, which has the id of the other end user, when another end user has the
          `external_id`.
        - Conflict when the other end user keeps changing.
        - InvalidRequest when `metadata` is too large.
        """
        metadata = metadata_text(body.metadata)
        for _ in range(_TRIES):
            row = await queries.insert(
                connection,
                actor.world_id,
                self._ports.ids.new("eu"),
                body.external_id,
                body.name,
                body.email,
                metadata,
                self._ports.clock.now(),
            )
            if row is not None:
                await self._note(connection, actor, "end_user.created", row.id)
                return _end_user(row, actor.project_id)
            await _refuse_duplicate(connection, actor.world_id, body.external_id)
        raise _changing()

    async def read(self, actor: Actor, end_user_id: str) -> EndUser:
        """One end user. Raises NotFound when the caller reaches no end user with this id."""
        async with self._ports.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, end_user_id, actor.end_user_id)
        if row is None:
            raise unknown()
        return _end_user(row, actor.project_id)

    async def list(self, actor: Actor, query: EndUserQuery) -> EndUserPage:
        """One page, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "end_users")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(
                connection, actor.world_id, asked, query.external_id, actor.end_user_id
            )
        data, has_more, next_cursor = page(rows, asked, lambda row: _end_user(row, actor.project_id))
        return EndUserPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def update(self, actor: Actor, end_user_id: str, body: UpdateEndUser) -> EndUser:
        """Change the given fields.

        Raises:

        - NotFound when there is no such end user.
        - ResourceAlreadyExists, which has the id of the other end user, when another end user has the
          `external_id`.
        - Conflict when the other end user keeps changing.
        - InvalidRequest when `metadata` is too large.
        """
        if not any(getattr(body, name) is not msgspec.UNSET for name in body.__struct_fields__):
            return await self.read(actor, end_user_id)
        metadata = (body.metadata is not msgspec.UNSET, metadata_text(value_of(body.metadata)))
        for _ in range(_TRIES):
            try:
                async with self._ports.database.transaction() as connection:
                    row = await queries.update(
                        connection,
                        actor.world_id,
                        end_user_id,
                        self._ports.clock.now(),
                        external_id=given(body.external_id),
                        name=given(body.name),
                        email=given(body.email),
                        metadata=metadata,
                    )
                    if row is None:
                        raise unknown()
                    await self._note(connection, actor, "end_user.updated", end_user_id)
            except asyncpg.UniqueViolationError:
                async with self._ports.database.acquire() as connection:
                    await _refuse_duplicate(connection, actor.world_id, value_of(body.external_id))
                continue
            return _end_user(row, actor.project_id)
        raise _changing()

    async def find_present(self, world_id: int, end_user_ids: Sequence[str]) -> list[str]:
        """Those of these end users that are not deleted."""
        async with self._ports.database.acquire() as connection:
            return await queries.find_present(connection, world_id, end_user_ids)

    async def delete(self, world_id: int, end_user_id: str, cause: Cause, actor: Actor | None = None) -> None:
        """Delete an end user: from now on no answer shows the end user or its data.

        The ledger keeps the `cause`, and the audit log the `actor`; None: the operator.
        The job of recordings/deletion then removes the rows that may be many: commands, diagnostics, events,
        stored answers and recordings. Until then every statement hides these rows, because their end user is
        deleted (`present`). Last, the erasure job deletes the objects in the store. While a legal hold keeps
        the end user, the fields of the end user and the recordings stay, hidden. Raises NotFound when there
        is no such end user.
        """
        now = self._ports.clock.now()
        revoked: list[str] = []
        async with self._ports.database.transaction() as connection:
            if not await queries.hide_person(connection, world_id, end_user_id, now):
                raise unknown()
            held = await is_held(connection, world_id, end_user_id)
            entry_id = self._ports.ids.new("era")
            await open_end_user(connection, world_id, entry_id, end_user_id, now, cause=cause, held=held)
            if not held:
                await queries.erase_person(connection, world_id, end_user_id)
                await forget_reasons(connection, world_id, [end_user_id])
            await queries.delete_token(connection, world_id, end_user_id)
            for hook in self.on_delete:
                revoked.extend(await hook(connection, world_id, end_user_id, now) or ())
            deleted = audit.happened("end_user.deleted", end_user_id)
            await audit.record(
                connection,
                self._ports.ids,
                now,
                worlds=[world_id],
                actor=actor,
                change=deleted,
                about=end_user_id,
            )
        await self._ports.revocations.announce(revoked)

    async def issue_token(
        self, connection: Connection, actor: Actor, end_user_id: str, body: IssueToken
    ) -> EndUserToken:
        """Issue a token, which replaces the end user's previous token.

        Raises NotFound when there is no such end user, InvalidRequest when `expires_at` is in the past,
        Forbidden when the token would outlive the caller's key, and Unauthorized when that key has ended
        meanwhile.
        """
        if not await queries.lock_against_deletion(connection, actor.world_id, end_user_id):
            raise unknown()
        expires_at = await self._issuer.end_of_issued(connection, actor, body.expires_at)
        token = new_token(end_user_token_queries.PREFIX)
        hasher, now = self._ports.hasher, self._ports.clock.now()
        await queries.put_token(
            connection,
            actor.world_id,
            end_user_id,
            hasher.hash(token),
            hasher.secret_id,
            now,
            expires_at=expires_at,
            issued_by=actor.id,
        )
        await self._note(connection, actor, "end_user.token_issued", end_user_id)
        return EndUserToken(
            token=token,
            expires_at=timestamp_or_none(expires_at),
            connection_command=(
                f"claude mcp add --transport http lapel {quote(f'{self._ports.settings.base_url}/mcp')} "
                f'--header "Authorization: Bearer {token}"'
            ),
        )

    async def token_facts(self, world_id: int, end_user_id: str) -> EndUserTokenFacts | None:
        """The facts of the end user's token; None when there is no token."""
        async with self._ports.database.acquire() as connection:
            row = await queries.read_token(connection, world_id, end_user_id)
        if row is None:
            return None
        return EndUserTokenFacts(
            created_at=timestamp(row.created_at),
            expires_at=timestamp_or_none(row.expires_at),
            issued_by=row.issued_by,
        )

    async def reader_of(self, end_user_id: str) -> Actor:
        """For the operator: a caller that reads the data of this end user, of whatever world, and no other.

        Raises NotFound when there is no such end user.
        """
        async with self._ports.database.acquire() as connection:
            home = await queries.find_in_any_world(connection, end_user_id)
        if home is None:
            raise unknown()
        return Actor(
            kind="key",
            id="",
            world_id=home.world_id,
            project_id=home.project_id,
            mode=home.mode,
            end_user_id=end_user_id,
        )

    async def issued_again(self, actor: Actor, stored: EndUserToken) -> EndUserToken:
        """The stored answer, for a repeat that may come with another key.

        Raises Forbidden when that key could not have issued the token, and Unauthorized when that key has
        ended.
        """
        await self._issuer.check_reissue(actor, stored.expires_at)
        return stored

    async def revoke_token(self, actor: Actor, end_user_id: str) -> None:
        """Revoke the token, if there is one. Raises NotFound when there is no such end user."""
        async with self._ports.database.transaction() as connection:
            if not await queries.lock_against_deletion(connection, actor.world_id, end_user_id):
                raise unknown()
            if await queries.delete_token(connection, actor.world_id, end_user_id):
                await self._note(connection, actor, "end_user.token_revoked", end_user_id)

    async def _note(self, connection: Connection, actor: Actor, action: str, end_user_id: str) -> None:
        now = self._ports.clock.now()
        await audit.note(connection, self._ports.ids, now, actor, action, end_user_id, end_user_id)


async def _refuse_duplicate(connection: Connection, world_id: int, external_id: str | None) -> None:
    """Raises ResourceAlreadyExists if an active end user still has the external id."""
    holder = await queries.find_id_by_external_id(connection, world_id, external_id or "")
    if holder is not None:
        raise ResourceAlreadyExists(
            "An end user with this `external_id` exists; `resource_id` is its id.",
            param="external_id",
            resource_id=holder,
        )


def _changing() -> Conflict:
    return Conflict("The end user with this `external_id` is being changed. Repeat the request.")


def _end_user(row: EndUserRow, project_id: str) -> EndUser:
    return EndUser(
        id=row.id,
        external_id=row.external_id,
        name=row.name,
        email=row.email,
        metadata=raw(row.metadata),
        project_id=project_id,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        deleted_at=timestamp_or_none(row.deleted_at),
    )
