"""A server whose language model is scripted, and people who ask about their recordings."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.ports import Ports
from lapel.slices.ask.service import Answers
from tests.ask.scripted import SLICES, Script, ScriptedModel, ScriptedModels, models_of
from tests.recordings.support import Device
from tests.search.support import Library, segments_of
from tests.support.client import api_client
from tests.support.memory import folder_in_memory
from tests.support.postgres import create_database
from tests.support.running import Running, running
from tests.support.tenants import Tenant, make_tenant

Json = dict[str, Any]

NAME = "UPDATE recordings SET name = $3 WHERE world_id = $1 AND id = $2"
ROOF = (
    "Good morning, everybody.",
    "The roof of the school will be repaired in May.",
    "The repair costs 4200 euros, and Anna signs the contract.",
    "The spring fair is moved to Saturday.",
)


@dataclass(frozen=True)
class Asker:
    """A caller of the API with one project's key."""

    device: Device
    ports: Ports
    models: ScriptedModels
    answers: Answers
    library: Library

    @property
    def world_id(self) -> int:
        """The test world."""
        return self.device.tenant.test_world

    def script(self, script: Script, context_tokens: int = 100_000) -> ScriptedModel:
        """Let a model answer in this world."""
        made = self.models.of_world[self.world_id] = ScriptedModel(script, context_tokens)
        return made

    async def recording(self, *sentences: str, end_user_id: str = "", name: str | None = None) -> str:
        """A recording in which this was said, each sentence for ten seconds."""
        said = [(f"SPEAKER_{place % 2}", text) for place, text in enumerate(sentences)]
        owner = end_user_id or await self.library.end_user()
        made = await self.library.said(owner, segments_of(said, 10.0))
        if name is not None:
            await self.library.execute(NAME, self.world_id, made, name)
        return made

    async def session(self, recording_id: str, expect: int = 201, **more: Any) -> Json:
        """A session about one recording."""
        body = {"scope": {"type": "recording", "recording_id": recording_id}, **more}
        return await self.device.post("/v1/ask/sessions", expect, body)

    async def about_roof(self) -> Json:
        """A session about a recording in which ROOF was said."""
        return await self.session(await self.recording(*ROOF))

    async def ask(self, session_id: str, content: str, expect: int = 200, **more: Any) -> Json:
        """A question."""
        body = {"content": content, **more}
        return await self.device.post(f"/v1/ask/sessions/{session_id}/messages", expect, body)

    async def messages(self, session_id: str) -> list[Json]:
        """All messages of a session."""
        found = await self.device.call("GET", f"/v1/ask/sessions/{session_id}/messages?limit=100", 200)
        return found["data"]

    async def read(self, session_id: str, expect: int = 200) -> Json:
        """A session."""
        return await self.device.call("GET", f"/v1/ask/sessions/{session_id}", expect)


@pytest.fixture(scope="package")
async def asking(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """A server with scripted models."""
    url = create_database(postgres, "asking", "template")
    with folder_in_memory(tmp_path_factory.mktemp("asking")) as folder:
        async with running(folder, url, SLICES, LAPEL_ANSWER_TIMEOUT="3") as started:
            yield started


@pytest.fixture
async def http(asking: Running) -> AsyncGenerator[httpx.AsyncClient]:
    """HTTP to this server."""
    async with api_client(asking.url) as opened:
        yield opened


@pytest.fixture
async def owner(asking: Running) -> Tenant:
    """A project."""
    return await make_tenant(asking.ports)


@pytest.fixture
def asker(asking: Running, http: httpx.AsyncClient, owner: Tenant) -> Asker:
    """A caller with the project's key."""
    services = asking.services
    return Asker(
        Device(http, owner, owner.headers),
        asking.ports,
        models_of(services),
        services[Answers],
        Library(asking.ports, owner),
    )
