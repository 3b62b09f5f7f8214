"""The languages that a request names: which are valid, and what the configuration adds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.transcription.models.whisper.languages import LANGUAGES, primary
from lapel.slices.transcription.wire import LANGUAGE_TAG

if TYPE_CHECKING:
    from lapel.slices.configuration.service import Document
    from lapel.slices.transcription.wire import TranscribeRecording


def check_tags(wish: TranscribeRecording) -> None:
    """Raises InvalidRequest for what is no language tag."""
    for param, tag in _list_named(wish):
        if not re.match(LANGUAGE_TAG, tag):
            raise InvalidRequest(
                f"`{tag}` is no language tag. Give one such as en or de-CH, or none: then the language is "
                "detected.",
                param=param,
                reason="is no language tag",
            )


def check_known(wish: TranscribeRecording) -> None:
    """Raises InvalidRequest for a language that the local model does not know."""
    for param, tag in _list_named(wish):
        if primary(tag) not in LANGUAGES:
            raise InvalidRequest(
                f"The local model does not know the language `{tag}`. Give one of "
                f"{', '.join(sorted(LANGUAGES))}, or none: then the language is detected.",
                param=param,
                reason="is not known to the local model",
            )


def add_configured(wish: TranscribeRecording, processing: Document) -> TranscribeRecording:
    """The request with the languages of the configuration's section `processing`, if it names none.

    `language` counts before `languages`. If only one language may be spoken, it is not detected.
    """
    if wish.language is None and wish.languages is None:
        language = processing["auto_transcription"].get("language")
        languages = None if language is not None else processing.get("languages")
        wish = msgspec.structs.replace(wish, language=language, languages=languages)
    if wish.language is None and wish.languages is not None and len(wish.languages) == 1:
        return msgspec.structs.replace(wish, language=wish.languages[0])
    return wish


def _list_named(wish: TranscribeRecording) -> list[tuple[str, str]]:
    """Each language of the request, with the `param` of an error about it."""
    languages = [(f"languages[{at}]", tag) for at, tag in enumerate(wish.languages or ())]
    return languages if wish.language is None else [("language", wish.language), *languages]
