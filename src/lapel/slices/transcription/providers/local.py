"""The local model as a provider: nothing leaves the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.transcription.speech.messages import Heard, Listen

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.slices.transcription.models.process.engine_client import Engine
    from lapel.slices.transcription.providers.protocol import Clip, Wish


class LocalTranscriber:
    """The Transcriber of the local models. `model`: a folder or a name; None for the setting."""

    piecewise: bool = True
    reads_samples: bool = True
    tells_speakers: bool = False
    tells_languages: bool = True

    def __init__(self, engine: Engine, model: str | None = None) -> None:
        self._engine = engine
        self._model = model

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """See `Transcriber.transcribe`. Raises SpeechError and TryAgain, as `Engine.listen` does."""
        request = Listen(
            pcm=str(clip.pcm),
            start_ms=clip.start_ms,
            end_ms=clip.end_ms,
            language=wish.language,
            languages=wish.languages,
            likely=wish.likely_language,
            model=self._model,
        )
        return await self._engine.listen(request, report)
