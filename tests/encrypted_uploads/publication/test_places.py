"""Two worlds whose publications never end leave a thread for a third."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, suppress

import httpx
import msgspec
import pytest

from lapel.foundation.core.admission import NoRoom
from lapel.foundation.ports import Ports
from lapel.foundation.storage.streams import ObjectUpload
from lapel.slices.encrypted_uploads.payloads import PublishSession
from lapel.slices.encrypted_uploads.publication.publication_jobs import handlers
from lapel.slices.encrypted_uploads.publication.publisher import Publisher
from tests.encrypted_uploads.publication.support import Accepted, Other, accepted, publishing, row_of
from tests.recordings.support import Device
from tests.support.patience import LONG, patience
from tests.support.tenants import make_tenant


class Held:
    """The real streams, which hold what some projects write."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self.projects: set[str] = set()
        self.writing = Counter[str]()
        self.let_go = threading.Event()

    @contextmanager
    def write(self, key: str, size: int, sha256: str) -> Generator[ObjectUpload]:
        """As ObjectStreams.write, in the thread that opens."""
        project = key.split("/")[1]
        if project in self.projects:
            self.writing[project] += 1
            self.let_go.wait()
        with self._ports.streams.write(key, size, sha256) as upload:
            yield upload


async def run(publisher: Publisher, uploads: list[Accepted], size: int) -> None:
    """Run the jobs of these sessions, as a worker does. `size`: what the jobs say of all but the last two."""
    (job,) = handlers(publisher)

    async def publish(payload: PublishSession) -> None:
        assert job.turn is not None
        while True:
            with suppress(NoRoom):
                async with job.turn(payload):
                    return await job.handler(payload)

    payloads = [msgspec.structs.replace(each.payload, size=size) for each in uploads[:-2]]
    payloads += [each.payload for each in uploads[-2:]]

    async with asyncio.TaskGroup() as group:
        for each in payloads:
            group.create_task(publish(each))


async def states_of(ports: Ports, uploads: list[Accepted]) -> list[str]:
    return [(await row_of(ports, each))["state"] for each in uploads]


@pytest.mark.parametrize(("size", "at_once"), [(0, 2), (9 * 2**20, 1)])
async def test_a_third_world_publishes_while_two_hold_all_that_they_get(
    ports: Ports, client: httpx.AsyncClient, size: int, at_once: int
) -> None:
    devices = [Device(client, each, each.headers) for each in [await make_tenant(ports) for _ in range(3)]]
    *held, free = [[await accepted(device) for _ in range(2)] for device in devices]
    streams = Held(ports)
    streams.projects = {each.session["project_id"] for each, *_ in held}
    async with publishing(ports, streams=Other(ports.streams, write=streams.write)) as publisher:
        running = asyncio.create_task(run(publisher, [*held[0], *held[1], *free], size))
        try:
            async with patience(LONG):
                while await states_of(ports, free) != ["published"] * 2:
                    assert not running.done()
                    await asyncio.sleep(0.02)
            assert list(streams.writing.values()) == [at_once] * 2
        finally:
            streams.let_go.set()
            await asyncio.wait({running})
    assert not running.cancelled()
    assert running.exception() is None
    assert await states_of(ports, [*held[0], *held[1]]) == ["published"] * 4
