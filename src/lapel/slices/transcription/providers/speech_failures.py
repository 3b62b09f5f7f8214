"""The failures of providers, in the words of speech work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from lapel.slices.providers.service import ProviderAway, ProviderFailed
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain


@contextmanager
def speech_failures() -> Generator[None]:
    """Raises SpeechError and TryAgain (`provider_error`) in place of the ProviderFailed and ProviderAway that
    the block raises."""
    try:
        yield
    except ProviderFailed as fault:
        raise SpeechError("provider_error", fault.fault, remedy=fault.remedy) from fault
    except ProviderAway as fault:
        raise TryAgain("provider_error", fault.message, after=fault.after) from fault
