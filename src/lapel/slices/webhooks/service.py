"""The rules of webhooks: what may be registered, and how their secrets change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.http.input.fields import metadata_text
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.foundation.outbound.urls import ForbiddenUrl, check_url
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.projects.service import lock_working_key, lock_world
from lapel.slices.webhooks import queries, signing_secrets
from lapel.slices.webhooks.payloads import END_PENDING, REMOVE, WebhookJob
from lapel.slices.webhooks.queries import FORGET_SECRETS
from lapel.slices.webhooks.registration.event_checks import (
    check_events,
    check_may_send,
    hidden_from,
    scope_of,
)
from lapel.slices.webhooks.registration.url_checks import check_new
from lapel.slices.webhooks.views import webhook_of
from lapel.slices.webhooks.waiting_queries import LATE, BacklogRow, find_pending_types, measure_backlog
from lapel.slices.webhooks.wire import (
    CreatedWebhook,
    RotatedWebhook,
    WebhookPage,
)

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageQuery
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.service import WorldRow
    from lapel.slices.webhooks.rows import WebhookRow
    from lapel.slices.webhooks.wire import CreateWebhook, UpdateWebhook, Webhook

__all__ = [
    "FORGET_SECRETS",
    "LATE",
    "BacklogRow",
    "Webhooks",
    "measure_backlog",
    "scope_of",
]

# How long the previous secret is valid after a rotation. Texts in routes.py repeat these 24 hours.
OVERLAP = timedelta(hours=24)

_Shown = TypeVar("_Shown", bound=CreatedWebhook)


class Webhooks:
    """Operations on webhooks.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._outbound = OutboundPolicy.of(ports.settings)

    async def create(self, connection: Connection, actor: Actor, body: CreateWebhook) -> CreatedWebhook:
        """Create a webhook with a fresh secret.

        Raises InvalidRequest for a bad URL, unknown event types or metadata that are too large, Forbidden for
        events that the caller's key may not read, ResourceAlreadyExists when the world has a webhook with
        this URL, Conflict when it has as many webhooks as it may have, and Unauthorized when the key has
        ended meanwhile.
        """
        self._check_url(body.url)
        check_events(body.events)
        check_may_send(actor, body.events)
        metadata = metadata_text(body.metadata)
        now, world_id = self._ports.clock.now(), actor.world_id
        others = await self._lock_urls(connection, actor, now)
        check_new(body.url, others)
        most = self._ports.settings.webhooks_per_world
        if len(others) >= most:
            raise Conflict(
                f"This project has {len(others)} webhooks in this world, and {most} are allowed. Delete "
                "some, or ask the operator to raise LAPEL_WEBHOOKS_PER_WORLD."
            )
        webhook_id, secret = self._ports.ids.new("wh"), signing_secrets.new_secret()
        sealed = signing_secrets.sealed(self._ports.sealer, world_id, webhook_id, secret)
        row = await queries.insert(
            connection,
            world_id,
            webhook_id,
            body.url,
            body.events,
            (body.description, metadata),
            sealed,
            now,
            actor.id,
        )
        await self._record(connection, actor, "created", webhook_id, None, audited(row), now)
        return CreatedWebhook(**msgspec.structs.asdict(webhook_of(row, actor.project_id)), secret=secret)

    async def list(self, actor: Actor, query: PageQuery) -> WebhookPage:
        """One page, newest first. Raises InvalidRequest for a bad cursor."""
        asked = window(query, "webhooks")
        async with self._ports.database.acquire() as connection:
            rows = await queries.list_page(connection, actor.world_id, asked)
        data, has_more, next_cursor = page(rows, asked, lambda row: webhook_of(row, actor.project_id))
        return WebhookPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def read(self, actor: Actor, webhook_id: str) -> Webhook:
        """One webhook. Raises NotFound when there is no such webhook."""
        async with self._ports.database.acquire() as connection:
            row = await queries.read(connection, actor.world_id, webhook_id)
        if row is None:
            raise unknown_webhook()
        return webhook_of(row, actor.project_id)

    async def update(self, actor: Actor, webhook_id: str, body: UpdateWebhook) -> Webhook:
        """Change a webhook.

        Raises NotFound when there is no such webhook, InvalidRequest for a bad URL, unknown event types or
        metadata that are too large, Forbidden when a webhook with events that the caller's key may not read
        would get another URL, more types or be enabled, ResourceAlreadyExists when the world has another
        webhook with this URL, and Unauthorized when the key has ended meanwhile.
        """
        if body.url is not msgspec.UNSET:
            self._check_url(body.url)
        if body.events is not msgspec.UNSET:
            check_events(body.events)
        given = {name: value for name, value in _columns(body).items() if value is not msgspec.UNSET}
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            # The world and the key are always locked before a webhook.
            others = {}
            if "url" in given or "events" in given or given.get("status") == "enabled":
                others = await self._lock_urls(connection, actor, now)
            lock = queries.lock_with_deliveries if "url" in given else queries.lock
            before = await lock(connection, world_id, webhook_id)
            if before is None:
                raise unknown_webhook()
            wanted = msgspec.structs.replace(before, **given)
            if wanted == before:
                return webhook_of(before, actor.project_id)
            enabled = before.status == "disabled" and wanted.status == "enabled"
            readdressed = wanted.url != before.url
            if readdressed:
                others.pop(webhook_id, None)
                check_new(wanted.url, others)
            if enabled or readdressed or wanted.events != before.events:
                check_may_send(actor, wanted.events)
            if readdressed:  # what is pending goes to the new URL, also events of former types
                check_may_send(actor, before.events)
                check_may_send(actor, await _pending_types(connection, actor, webhook_id))
            afresh = enabled or readdressed
            after = await queries.update(connection, world_id, wanted, now, afresh=afresh, key=actor.id)
            if before.status == "enabled" and after.status == "disabled":
                await enqueue(connection, END_PENDING, WebhookJob(world_id, webhook_id))
            changed = {name for name in given if getattr(before, name) != getattr(after, name)}
            was, became = (_part(audited(row), changed) for row in (before, after))
            await self._record(connection, actor, "updated", webhook_id, was, became, now)
        return webhook_of(after, actor.project_id)

    async def rotate(self, connection: Connection, actor: Actor, webhook_id: str) -> RotatedWebhook:
        """Replace a webhook's secret. The previous secret stays valid for `OVERLAP`; one before it ends now.

        Raises NotFound when there is no such webhook.
        """
        now, world_id, secret = self._ports.clock.now(), actor.world_id, signing_secrets.new_secret()
        sealed = signing_secrets.sealed(self._ports.sealer, world_id, webhook_id, secret)
        until = now + OVERLAP
        row = await queries.rotate(connection, world_id, webhook_id, sealed, until, now)
        if row is None:
            raise unknown_webhook()
        ends = timestamp(until)
        told = {"previous_secret_until": ends}
        await self._record(connection, actor, "secret_rotated", webhook_id, None, told, now)
        shown = msgspec.structs.asdict(webhook_of(row, actor.project_id))
        return RotatedWebhook(**shown, secret=secret, previous_secret_until=ends)

    async def created_again(self, actor: Actor, stored: CreatedWebhook) -> CreatedWebhook:
        """The stored answer of `create`, for a repeat that may come with another key.

        Raises NotFound when the webhook is deleted, and Forbidden when the key of the repeat could not have
        created it: the answer has the secret.
        """
        check_may_send(actor, stored.events)
        return await self.replayed(actor, stored)

    async def replayed(self, actor: Actor, stored: _Shown) -> _Shown:
        """The stored answer, for a repeat. Raises NotFound when the webhook is deleted."""
        await self.read(actor, stored.id)
        return stored

    async def delete(self, actor: Actor, webhook_id: str) -> None:
        """Delete a webhook. From now on nothing shows it, and no attempt to deliver to it begins.

        Raises NotFound when there is no such webhook.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            before = await queries.lock(connection, world_id, webhook_id)
            if before is None:
                raise unknown_webhook()
            await queries.delete(connection, world_id, webhook_id, now)
            await enqueue(connection, REMOVE, WebhookJob(world_id, webhook_id))
            await self._record(connection, actor, "deleted", webhook_id, audited(before), None, now)

    async def disable_of_key(
        self, connection: Connection, world: WorldRow, key_id: str, actor: Actor | None
    ) -> None:
        """Disable the webhooks that a key made, because the key is revoked with all that it issued.

        The transaction holds the key, so the key makes no other one. `actor`: None for the operator.
        """
        now = self._ports.clock.now()
        for row in await queries.disable_of_key(connection, world.id, key_id, now):
            await enqueue(connection, END_PENDING, WebhookJob(world.id, row.id))
            change = audit.Change(
                action="webhook.disabled",
                resource_type="webhook",
                resource_id=row.id,
                before={"status": "enabled"},
                after={"status": row.status, "disabled_reason": row.disabled_reason, "revoked_key": key_id},
            )
            await audit.record(
                connection, self._ports.ids, now, worlds=[world.id], actor=actor, change=change, about=None
            )

    async def resend(
        self, connection: Connection, actor: Actor, event_id: str, webhook_id: str | None = None
    ) -> list[str]:
        """Deliver an event again, to one webhook, or to all enabled webhooks that get events of its type.

        One webhook gets the event even if it has not subscribed to the type. Returns the webhooks. Raises
        NotFound when there is no such event or webhook, Forbidden when the caller's key may not read events
        of this type, and Conflict when the webhook is disabled.
        """
        world_id = actor.world_id
        event = await queries.find_placed(connection, world_id, event_id)
        if event is None:
            raise NotFound("There is no event with this id, or a worker has not yet placed it in the stream.")
        check_may_send(actor, [event.type])
        if webhook_id is None:
            webhooks = await queries.subscribed(connection, world_id, event.type)
        else:
            await check_enabled(connection, world_id, webhook_id)
            webhooks = [webhook_id]
        if webhooks:
            new = [(self._ports.ids.new("whd"), each) for each in webhooks]
            await queries.resend(connection, world_id, event, new)
            now = self._ports.clock.now()
            await audit.note(
                connection, self._ports.ids, now, actor, "event.resent", event_id, event.end_user_id
            )
        return webhooks

    async def _lock_urls(self, connection: Connection, actor: Actor, now: datetime) -> dict[str, str]:
        """The URLs of the world's webhooks, by id. Until the transaction ends, no other one adds a webhook to
        the world or changes a URL, and the caller's key is not revoked.

        Raises Unauthorized when the key has ended meanwhile.
        """
        await lock_world(connection, actor.project_id, actor.mode)
        await lock_working_key(connection, actor, now)
        return {row.id: row.url for row in await queries.list_urls(connection, actor.world_id)}

    def _check_url(self, url: str) -> None:
        """Raises InvalidRequest for a URL to which no delivery could be sent."""
        try:
            check_url(url, self._outbound)
        except ForbiddenUrl as error:
            raise InvalidRequest(str(error), param="url") from None

    async def _record(
        self,
        connection: Connection,
        actor: Actor,
        verb: str,
        webhook_id: str,
        before: object,
        after: object,
        now: datetime,
    ) -> None:
        change = audit.Change(
            action=f"webhook.{verb}",
            resource_type="webhook",
            resource_id=webhook_id,
            before=before,
            after=after,
        )
        await audit.record(
            connection, self._ports.ids, now, worlds=[actor.world_id], actor=actor, change=change, about=None
        )


def unknown_webhook() -> NotFound:
    """The refusal of an id that is no webhook of the caller's world."""
    return NotFound("There is no webhook with this id.")


def _columns(body: UpdateWebhook) -> dict[str, object]:
    """The columns that a PATCH sets; UNSET for those that stay.

    Raises InvalidRequest when the metadata are too large.
    """
    metadata = body.metadata
    return {
        "url": body.url,
        "events": body.events,
        "description": body.description,
        "metadata": metadata if metadata is msgspec.UNSET else metadata_text(metadata),
        "status": body.status,
    }


async def _pending_types(connection: Connection, actor: Actor, webhook_id: str) -> list[str]:
    """A type of a pending delivery's event that the caller's key may not read, if there is one."""
    hidden = hidden_from(actor)
    return await find_pending_types(connection, actor.world_id, webhook_id, hidden) if hidden else []


async def check_enabled(connection: Connection, world_id: int, webhook_id: str) -> WebhookRow:
    """Keep a webhook's row until the transaction ends, because deliveries that refer to it may follow.

    Raises NotFound when there is no such webhook, and Conflict when it is disabled.
    """
    row = await queries.keep(connection, world_id, webhook_id)
    if row is None:
        raise unknown_webhook()
    if row.status == "disabled":
        raise Conflict("This webhook is disabled. Enable it first: PATCH it with the `status` `enabled`.")
    return row


def audited(row: WebhookRow) -> dict[str, object]:
    """A webhook in the audit log.

    Of the URL only scheme and host are shown, because the path or the query may be the receiver's secret.
    The metadata, which are the client's own, are left out.
    """
    address = urlsplit(row.url)
    return {
        "url": f"{address.scheme}://{address.netloc}/…",
        "events": row.events,
        "description": row.description,
        "status": row.status,
        "disabled_reason": row.disabled_reason,
    }


def _part(shown: dict[str, object], names: set[str]) -> dict[str, object]:
    return {name: value for name, value in shown.items() if name in names}
