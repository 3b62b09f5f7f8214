"""Conversations, a model whose answers the test writes, and a worker of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from lapel.foundation.ports import Ports
from lapel.slices.configuration.service import Configuration
from lapel.slices.embeddings.service import Embeddings, NoEmbeddings
from lapel.slices.language_models.service import Generated, LanguageModel, LanguageModels, Prompt
from lapel.slices.summaries.work.summary_runner import SummaryRunner
from lapel.slices.transcription.service import Segment
from lapel.slices.transcription.speech.transcript import Transcript
from tests.recordings.support import Device, Json
from tests.support.spoken import complete_transcription
from tests.support.tenants import Tenant

SOUND = b"OggS" + bytes(200)
MEETING = (
    ("SPEAKER_0", "Good morning. The launch of the blue thermostat slips to the ninth of March."),
    ("SPEAKER_1", "The supplier in Graz delivers the sensors two weeks late."),
    ("SPEAKER_0", "Then we have decided to keep the old sensors for the first 500 units."),
    ("SPEAKER_1", "I will call the supplier by Friday and ask for a discount of 12 percent."),
    ("SPEAKER_0", "Who tells the customers in Norway?"),
    ("SPEAKER_1", "Marta will write to the customers in Norway tomorrow."),
)
Said = Sequence[tuple[str | None, str]]
Answer = Callable[[Prompt], str]


def segments_of_talk(said: Said, *, seconds: float = 4.0) -> list[Segment]:
    """Segments of these (speaker, text), one after the other."""
    made: list[Segment] = []
    for number, (speaker, text) in enumerate(said):
        segment = Segment(start=number * seconds, end=(number + 1) * seconds - 0.5, text=text, confidence=0.9)
        made.append(segment if speaker is None else Segment(**{**_fields(segment), "speaker": speaker}))
    return made


def _fields(segment: Segment) -> dict[str, Any]:
    return {"start": segment.start, "end": segment.end, "text": segment.text, "confidence": 0.9}


def entry(value: object, *turns: int) -> Json:
    """An entry as a model answers it."""
    return {"value": value, "turns": list(turns)}


def general(**fields: object) -> str:
    """The answer of a model for the template `general_notes`."""
    usual: Json = {
        "overview": entry("The launch of the thermostat slips to March because sensors are late.", 0, 1),
        "key_points": [],
        "action_items": [],
        "participants": [],
        "decisions": [],
    }
    return json.dumps({**usual, **fields})


@dataclass
class ScriptedModel:
    """A language model whose answers the test writes: one answer for each call, the last one for all others.

    An answer that is an exception is raised.
    """

    answers: list[str | Exception | Answer]
    name: str = "scripted-1"
    context_tokens: int = 100_000
    reads_claims: bool = False
    prompts: list[Prompt] = field(default_factory=list[Prompt])

    async def generate(self, prompt: Prompt) -> Generated:
        """The next answer."""
        self.prompts.append(prompt)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else answer(prompt)
        return Generated(text=text, model="scripted-1")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Generated]:
        """The next answer, at once."""
        yield await self.generate(prompt)


class _Models:
    """The slots of one installation, all answered by one model."""

    def __init__(self) -> None:
        self.model: LanguageModel | None = None

    @asynccontextmanager
    async def using(self, *_: object, **__: object) -> AsyncGenerator[LanguageModel | None]:
        yield self.model


class _NoMeanings:
    """An embedding model that is not installed."""

    async def passages(self, _: Sequence[str]) -> list[bytes]:
        raise NoEmbeddings("not installed")


def no_meanings() -> Embeddings:
    """An embedding model that is not installed."""
    return cast("Embeddings", _NoMeanings())


@dataclass(frozen=True)
class Desk(Device):
    """A tenant, and a worker of its own that makes the summaries."""

    ports: Ports
    models: _Models
    runner: SummaryRunner

    async def transcribed(self, said: Said = MEETING, *, language: str | None = "en", **facts: Any) -> str:
        """The id of a completed transcription of this talk."""
        recording_id, _ = await self.upload(SOUND, **facts)
        made = await self.post("/v1/transcriptions", 201, {"recording_id": recording_id})
        transcript = Transcript(
            segments=segments_of_talk(said),
            language=language,
            language_probability=0.9,
            model="test",
            duration_ms=4000 * max(len(said), 1),
        )
        await complete_transcription(self.ports, self.tenant.test_world, made["id"], transcript)
        return made["id"]

    async def ask(self, transcription_id: str, expect: int = 201, /, **body: Any) -> Json:
        """Ask for a summary; with `general_notes` unless the body says otherwise."""
        if not body.keys() & {"template_id", "template", "prompt"}:
            body["template_id"] = "tmpl_general_notes"
        return await self.post("/v1/summaries", expect, {"transcription_id": transcription_id, **body})

    async def get(self, summary_id: str) -> Json:
        """The summary as it is."""
        return await self.call("GET", f"/v1/summaries/{summary_id}", 200)

    async def worked(self, summary_id: str) -> Json:
        """The summary after the worker has done what there is to do now."""
        for _ in range(100):
            if (shown := await self.get(summary_id))["status"] in ("completed", "failed"):
                return shown
            if await self.runner.run() is None:
                break
        return await self.get(summary_id)

    async def summary(
        self, said: Said = MEETING, answers: Sequence[str | Exception | Answer] | None = None, **body: Any
    ) -> Json:
        """A summary of a talk, made by a model with these answers, or by the extractive engine."""
        self.models.model = None if answers is None else ScriptedModel(list(answers))
        return await self.worked((await self.ask(await self.transcribed(said), **body))["id"])

    async def value(self, sql: str, *given: object) -> Any:
        """One value from the database."""
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(sql, *given)

    async def due_at_once(self) -> None:
        """Let the time pass until the next try of every summary of this tenant."""
        async with self.ports.database.acquire() as connection:
            await connection.execute(
                "UPDATE summary_work SET available_at = now() WHERE world_id = $1", self.tenant.test_world
            )


def desk_of(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Desk:
    """A desk of a tenant."""
    models = _Models()
    runner = SummaryRunner(ports, cast("LanguageModels", models), no_meanings(), Configuration(ports))
    return Desk(client, tenant, tenant.headers, ports, models, runner)
