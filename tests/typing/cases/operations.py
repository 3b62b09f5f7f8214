"""Routes whose handlers do not fit, each with the type checker's complaint; see `test_typing.py`."""

from __future__ import annotations

import msgspec

from lapel.foundation.core.actors import Actor
from lapel.foundation.database.connection import Connection
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import Call, NoBody, NoQuery, Reply
from lapel.foundation.http.input.forms import Form
from lapel.foundation.http.operations import Operation, PlainHandler
from lapel.foundation.http.routes import Routes, created, ready


class Make(msgspec.Struct):
    name: str


class Change(msgspec.Struct):
    name: str | None = None


class Filter(msgspec.Struct):
    limit: int = 20


class Thing(msgspec.Struct):
    id: str


class Other(msgspec.Struct):
    id: str


class Service:
    async def make(self, connection: Connection, actor: Actor, body: Make) -> Thing: ...
    async def register(self, connection: Connection, actor: Actor, body: Make) -> tuple[Thing, bool]: ...
    async def change(self, actor: Actor, thing_id: str, body: Change) -> Thing: ...
    async def list(self, actor: Actor, query: Filter) -> Thing: ...
    async def read(self, actor: Actor, thing_id: str) -> Thing: ...
    async def delete(self, actor: Actor, thing_id: str) -> None: ...
    async def file(self) -> Reply[bytes]: ...
    async def size(self) -> int: ...
    async def upload(self, actor: Actor, form: Form[Make]) -> Thing: ...
    async def of_device(self, token_hash: bytes, body: Make) -> tuple[Actor, Thing] | None: ...
    async def renewed(self, actor: Actor, stored: Thing) -> Thing: ...
    def now(self) -> Thing: ...


ACCESS = Access("devices:read")
ONE = "/v1/things/{thing_id}"


def right(things: Routes, service: Service) -> tuple[Operation, ...]:
    """No complaint about these."""
    return (
        things.get(ONE, "a", Thing).plain("", lambda call: service.read(call.actor, call.id)),
        things.get(ONE, "b", Thing, Filter).plain("", lambda call: service.list(call.actor, call.query)),
        things.get(ONE, "c", Thing).plain("", lambda _: ready(service.now())),
        things.get(ONE, "d").content("", lambda _: service.file(), answer="file"),
        things.delete(ONE, "e").plain("", lambda call: service.delete(call.actor, call.id)),
        things.patch(ONE, "f", Thing, Change).plain(
            "", lambda call: service.change(call.actor, call.id, call.body)
        ),
        things.post(ONE, "g", Thing, Make).stored(
            "",
            lambda call: service.make(call.connection, call.actor, call.body),
            replay=lambda call, stored: service.renewed(call.actor, stored),
        ),
        things.post(ONE, "h", Thing, Make).stored(
            "", lambda call: created(service.register(call.connection, call.actor, call.body))
        ),
        things.post(ONE, "i", Thing, Make).form(
            "", lambda call: service.upload(call.actor, call.form), files=()
        ),
        things.post(ONE, "j", Thing, Make).direct(
            "",
            lambda call: service.of_device(call.token_hash, call.body),
            lambda call: service.read(call.actor, call.body.name),
        ),
    )


def wrong(things: Routes, service: Service) -> tuple[Operation, ...]:
    """A complaint about each."""
    return (
        # The body is another struct, or there is none, or it has no such field.
        things.post(ONE, "a", Thing, Change).stored(
            "",
            lambda call: service.make(call.connection, call.actor, call.body),  # expect: reportArgumentType
        ),
        things.post(ONE, "b", Thing).stored(
            "",
            lambda call: service.make(call.connection, call.actor, call.body),  # expect: reportArgumentType
        ),
        things.post(ONE, "c", Thing, Make).plain(
            "",
            lambda call: service.read(call.actor, call.body.nmae),  # expect: reportAttributeAccessIssue
        ),
        # The query is another struct, or there is none.
        things.get(ONE, "d", Thing, Change).plain(
            "",
            lambda call: service.list(call.actor, call.query),  # expect: reportArgumentType
        ),
        things.get(ONE, "e", Thing).plain(
            "",
            lambda call: service.list(call.actor, call.query),  # expect: reportArgumentType
        ),
        # The answer is another struct, or there should be none, or it is not a file.
        things.get(ONE, "f", Other).plain(
            "",
            lambda call: service.read(call.actor, call.id),  # expect: reportArgumentType
        ),
        things.get(ONE, "g", Other).plain(
            "",
            lambda _: ready(service.now()),  # expect: reportArgumentType
        ),
        things.post(ONE, "h", Other, Make).stored(
            "",
            lambda call: created(  # expect: reportArgumentType
                service.register(call.connection, call.actor, call.body)
            ),
        ),
        things.delete(ONE, "i").plain(
            "",
            lambda call: service.read(call.actor, call.id),  # expect: reportArgumentType
        ),
        things.get(ONE, "j").content(
            "",
            lambda call: service.read(call.actor, call.id),  # expect: reportArgumentType
            answer="file",
        ),
        # Only a stored operation has a connection, only a form has a form, and a direct one has no actor.
        things.post(ONE, "k", Thing, Make).plain(
            "",
            lambda call: service.make(
                call.connection,  # expect: reportAttributeAccessIssue
                call.actor,
                call.body,
            ),
        ),
        things.post(ONE, "l", Thing, Make).plain(
            "",
            lambda call: service.upload(call.actor, call.form),  # expect: reportAttributeAccessIssue
        ),
        things.post(ONE, "m", Thing, Change).form(
            "",
            lambda call: service.upload(call.actor, call.form),  # expect: reportArgumentType
            files=(),
        ),
        things.post(ONE, "n", Thing, Make).direct(
            "",
            lambda call: service.of_device(call.actor, call.body),  # expect: reportAttributeAccessIssue
            lambda call: service.read(call.actor, call.id),
        ),
        # The other functions of a handler.
        things.post(ONE, "o", Other, Make).stored(
            "",
            lambda call: ready(Other(call.id)),
            replay=lambda call, stored: service.renewed(call.actor, stored),  # expect: reportArgumentType
        ),
        things.post(ONE, "o", Thing, Make).stored(
            "",
            lambda call: service.make(call.connection, call.actor, call.body),
            replay=lambda call, _: ready(Other(call.id)),  # expect: reportArgumentType
        ),
        things.get(ONE, "p", Thing).plain(
            "",
            lambda call: service.read(call.actor, call.id),
            head=lambda _: service.size(),  # expect: reportArgumentType
        ),
        things.get(ONE, "q", Thing).plain(
            "",
            lambda call: service.read(call.actor, call.id),
            sized=lambda call: service.read(call.actor, call.id),  # expect: reportArgumentType
        ),
        # A word that no operation has.
        things.get(ONE, "r", Thing).plain(
            "",
            lambda call: service.read(call.actor, call.id),
            stauts=201,  # expect: reportCallIssue
        ),
    )


async def reads(call: Call[NoQuery, NoBody]) -> Thing:
    """A handler that is a function."""
    return Thing(call.id)


async def makes(call: Call[NoQuery, Make]) -> Thing:
    """A handler that takes a body."""
    return Thing(call.body.name)


PlainHandler(query=NoQuery, body=NoBody, response=Thing, run=reads)
PlainHandler(query=NoQuery, body=Change, response=Thing, run=makes)  # expect: reportArgumentType
