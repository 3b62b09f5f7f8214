"""`lapel trigger`: causes an event, by really making what the event tells of."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import timedelta
from random import SystemRandom
from typing import TYPE_CHECKING, Annotated

import aiohttp
import msgspec
from cyclopts import Parameter

from lapel.cli.events.event_causes import CAUSES, LATE, SCOPES, Causes
from lapel.cli.events.event_heads import EventHead
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.following import session
from lapel.cli.shared.http_client import NoAnswer, answered
from lapel.cli.shared.options import DataDir, Json, emit, say, table
from lapel.cli.shared.server import Key, Project, Url, reach, server_access, unanswered
from lapel.simulate.client.caller import Caller, CallFailed, SimulationError
from lapel.simulate.client.meter import Meter

if TYPE_CHECKING:
    from lapel.cli.shared.server import ServerAccess

_KEY_LIVES = timedelta(hours=1)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 3.0
_TELL_SECONDS = 60.0


class Triggered(msgspec.Struct, frozen=True):
    """What happened. `event_id` is None when the command did not wait for the event."""

    type: str
    resource_id: str
    event_id: str | None


class _FoundEvents(msgspec.Struct):
    data: list[EventHead]


def trigger(
    type: Annotated[  # noqa: A002 - the contract's word
        str | None, Parameter(help="Type of the event. Without it, the command lists the types.")
    ] = None,
    /,
    *,
    wait: Annotated[
        bool, Parameter(negative=(), help="Wait also for device.offline, which comes minutes later.")
    ] = False,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Cause an event, by really making in the test world what the event tells of.

    It makes an end user, a device and what else is needed, over the API as a client would, and leaves them
    there. For webhook.disabled it answers a delivery itself, so the server must be allowed to call this
    machine. Keys of the live world are refused. Without a type it lists the types, and what it does for each.

    For example:

        lapel trigger
        lapel trigger recording.uploaded
        lapel trigger device.offline --wait
        export LAPEL_URL=https://api.example.com LAPEL_KEY=sk_test_…
        lapel trigger ota.failed --json
    """
    if type is None:
        rows = [(name, cause.told) for name, cause in CAUSES.items()]
        emit({"types": dict(rows)}, json, lambda: table(("TYPE", "WHAT HAPPENS"), rows))
        return
    if type not in CAUSES:
        raise CommandError(f"`{type}` cannot be triggered. `lapel trigger` lists the types that can.")
    if key is not None and not key.startswith(("sk_test_", "rk_test_")):
        raise CommandError("lapel trigger takes only a key of the test world, sk_test_… or rk_test_….")
    with server_access(
        url, key, project, data_dir, scopes=SCOPES, name="lapel trigger", lives=_KEY_LIVES
    ) as access:
        reach(access.base_url())
        try:
            done = asyncio.run(_cause(access, type, wait=wait))
        except (CallFailed, SimulationError) as fault:
            raise CommandError(f"{type} was not caused: {fault}") from fault
    emit(done, json, lambda: f"{done.type}  {done.event_id or '(later)'}  {done.resource_id}")


async def _cause(access: ServerAccess, type_: str, *, wait: bool) -> Triggered:
    cause, base_url = CAUSES[type_], access.base_url()
    async with session() as http:
        caller = Caller(http, base_url, Meter(), SystemRandom(), 0)
        resource_id = await cause.run(Causes(caller, access.key, secrets.token_hex(4)))
        if type_ in LATE and not wait:
            say(f"done: {cause.told}. The event {type_} comes then; --wait waits for it.")
            return Triggered(type_, resource_id, None)
        event_id = await _await_event(http, base_url, access.key, type_, resource_id, cause.seconds)
        return Triggered(type_, resource_id, event_id)


async def _await_event(
    http: aiohttp.ClientSession, base_url: str, key: str, type_: str, resource_id: str, seconds: float
) -> str:
    """The id of the event. Raises CommandError when it does not come within `seconds`."""
    began = told = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        try:
            with answered(base_url):
                found = await _find(http, base_url, key, type_, resource_id)
        except NoAnswer as fault:
            raise unanswered(fault) from fault
        if found is not None:
            return found
        now = time.monotonic()
        if now - began > seconds:
            raise CommandError(
                f"{type_} of {resource_id} did not come within {seconds:.0f} s; `lapel doctor` may say why."
            )
        if now - told > _TELL_SECONDS:
            told = now
            say(f"waiting for {type_} of {resource_id} for {now - began:.0f} s.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _find(
    http: aiohttp.ClientSession, base_url: str, key: str, type_: str, resource_id: str
) -> str | None:
    """The id of the event, if it happened. Raises CommandError when the key may not read events."""
    async with http.get(
        f"{base_url}/v1/events",
        params={"types": type_, "resource_id": resource_id},
        headers={"Authorization": f"Bearer {key}"},
    ) as answer:
        body = await answer.read()
        if answer.status in (401, 403):
            raise CommandError(
                f"the key may not read events ({answer.status}): give it webhooks:read, and the scope of "
                "the resource, such as recordings:read."
            )
        if answer.status != 200:
            return None
        events = msgspec.json.decode(body, type=_FoundEvents).data
        return events[0].id if events else None
