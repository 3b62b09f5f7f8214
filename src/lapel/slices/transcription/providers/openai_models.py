"""Requests and answers of OpenAI's transcription models, by name (`traits_of`).

Source: openai 3.57.0, types/audio; "Speech to text" and "Deprecations" at developers.openai.com, August 2026.
A service that follows OpenAI's API has its own model names, mostly Whisper's. It may put the maker before the
name (`openai/whisper-large-v3`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lapel.slices.transcription.speech.provider_languages import primary

if TYPE_CHECKING:
    from lapel.slices.transcription.providers.protocol import Wish

# Seconds of audio that a gpt-4o model takes.
_MOST_SECONDS = 1400


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How to call a model. `answer`: the format of the answer. `language`: the form's field for the language.
    `diarizes`: the model labels speakers, within one file. `most_seconds`: the longest audio."""

    answer: Literal["json", "verbose_json", "diarized_json"]
    language: Literal["language", "languages[]"] = "language"
    diarizes: bool = False
    most_seconds: int | None = None

    def fields(self, model: str, wish: Wish, *, with_language: bool = True) -> list[tuple[str, str]]:
        """The fields of the form, without the file. `with_language`: False leaves the language out."""
        fields = [("model", model), ("response_format", self.answer)]
        if self.answer == "verbose_json":
            fields += [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
        if self.diarizes:  # required above 30 s
            fields.append(("chunking_strategy", "auto"))
        if wish.language is not None and with_language:
            fields.append((self.language, primary(wish.language)))
        return fields


def traits_of(model: str) -> Traits:
    """The traits of a model, by its name. A maker before the name is ignored."""
    name = model.rpartition("/")[2].lower()
    if not name.startswith("gpt-"):
        return Traits(answer="verbose_json")
    if "diarize" in name:
        return Traits(answer="diarized_json", diarizes=True, most_seconds=_MOST_SECONDS)
    if name.startswith("gpt-4o"):
        return Traits(answer="json", most_seconds=_MOST_SECONDS)
    return Traits(answer="json", language="languages[]")
