"""The tests' remote speech services (speech_services), and our transcribers of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.providers.choice import SlotChoice, SpeechEngine
from lapel.slices.providers.http.provider_client import Patience
from lapel.slices.transcription.providers.protocol import Clip, Transcriber, Wish
from lapel.slices.transcription.providers.transcribers import transcriber
from tests.support.speech_services import assemblyai, deepgram, elevenlabs, openai
from tests.support.speech_services.service import Service, listening

if TYPE_CHECKING:
    from aiohttp import web

    from lapel.slices.transcription.speech.messages import Heard

KEY = "fake-key-0123456789abcdef-WXYZ"
# Short limits: the services answer at once, and tests of timeouts must be quick.
QUICK = Patience(connect=5, stall=10, answer=10, total=20, first_poll=0.01, longest_poll=0.02)
LOOPBACK = OutboundPolicy(networks=(ip_network("127.0.0.0/8"),))
ENGINES: tuple[SpeechEngine, ...] = ("deepgram", "assemblyai", "elevenlabs", "openai")
_ANSWERS = {
    "deepgram": deepgram.answer, "assemblyai": assemblyai.answer, "elevenlabs": elevenlabs.answer,
    "openai": openai.answer,
}  # fmt: skip


@dataclass
class Fake(Service):
    """A service, and our side of it. `remembered`: ids of copies at the service that our side noted."""

    engine: SpeechEngine
    key: str | None = field(default=KEY, kw_only=True)
    remembered: list[str] = field(default_factory=list, kw_only=True)

    def choice(self, model: str | None = None, *, allow_training: bool = False) -> SlotChoice:
        """A slot's setting that points to this service."""
        base_url = f"{self.url}/v1" if self.engine == "openai" else self.url
        slot = "whisper" if self.engine in ("openai", "local") else self.engine
        return SlotChoice(
            slot=slot, engine=self.engine, model=model, base_url=base_url, key=self.key,
            allow_training=allow_training,
        )  # fmt: skip

    async def hear(
        self,
        clip: Clip,
        wish: Wish | None = None,
        *,
        patience: Patience = QUICK,
        policy: OutboundPolicy = LOOPBACK,
        model: str | None = None,
        choice: SlotChoice | None = None,
    ) -> Heard:
        """Our side's transcript of the clip; checks that progress goes from 0 to 1."""
        told: list[float] = []
        engine = transcriber(
            choice or self.choice(model),
            local=_nobody,
            clock=SystemClock(),
            policy=policy,
            remember=self._remember,
            patience=patience,
        )
        found = await engine.transcribe(clip, wish or Wish(), told.append)
        assert told == sorted(told)
        assert told[-1] == 1
        return found

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        return await self.respond(request, _ANSWERS[self.engine])

    async def _remember(self, copy_id: str) -> None:
        self.remembered.append(copy_id)


def _nobody(_: str | None) -> Transcriber:
    raise AssertionError("the local engine was not chosen")


@asynccontextmanager
async def serving_fake(fake: Fake) -> AsyncGenerator[Fake]:
    """Runs the fake on its own port during the block."""
    async with listening(fake.handle) as fake.url:
        yield fake
