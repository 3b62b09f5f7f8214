"""What of a provider's words is shown, and how long it may ask to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.providers.choice import SlotChoice
from lapel.slices.providers.http.account import Account
from lapel.slices.providers.http.http_errors import (
    ProviderRefusal,
    RefusedForGood,
    codes_of,
    judged,
    retry_after,
    text_of,
)
from lapel.slices.providers.http.provider_client import Patience, Service
from lapel.slices.transcription.providers import deepgram

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
KEY = "k" * 20
ACCOUNT = Account(name="Deepgram", slot="deepgram", base_url="", key=KEY, headers={"Authorization": KEY})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5),
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("999999999999", 3600),
        ("Thu, 15 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 15 Jan 2026 12:00:30 -0000", 30),
        ("Thu, 15 Jan 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Thu, 15 Jan 99999999999999999999 12:00:30 GMT", None),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("99 Foo 2026 99:99:99", None),
    ],
)
def test_a_pause_is_read_and_bounded(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW, 3600) == seconds


@given(st.text())
def test_any_pause_is_bounded(value: str) -> None:
    found = retry_after(value, NOW, 3600)
    assert found is None or 0 <= found <= 3600


@given(st.binary(max_size=200))
def test_any_body_gives_text(content: bytes) -> None:
    assert isinstance(text_of(content), str)
    assert all(isinstance(each, str) for each in codes_of(content))


@given(st.text(max_size=300), st.integers(0, 300))
def test_the_key_is_never_shown(text: str, at: int) -> None:
    shown = ACCOUNT.clean(text[:at] + KEY + text[at:])
    assert KEY not in shown
    assert len(shown) <= 201


def test_the_key_is_not_in_what_python_prints() -> None:
    assert KEY not in repr(ACCOUNT)


def test_every_status_means_something() -> None:
    for status in range(300, 600):
        answer = ProviderRefusal(status=status, content=b'{"message": "why"}', headers={"Retry-After": "7"})
        refusal = judged(ACCOUNT, answer, NOW, 3600)
        assert refusal.message.startswith(f"Deepgram answered {status}: why.")


def test_neither_key_nor_control_characters_of_codes_reach_the_log() -> None:
    content = msgspec.json.encode({"error": {"code": f"bad_key {KEY}\x1b[2J", "type": "t" * 50_000}})
    found = judged(ACCOUNT, ProviderRefusal(status=400, content=content, headers={}), NOW, 3600)
    assert isinstance(found, RefusedForGood)
    assert "bad_key" in found.detail
    assert KEY not in found.detail
    assert "\x1b" not in found.detail
    assert len(found.detail) < 500


@pytest.mark.parametrize("model", ["nova-3", "whisper-large"])
def test_a_service_that_gives_up_by_itself_can_say_so(model: str) -> None:
    """Its own 504 must come before our time limit: after it no other try is made."""
    account = deepgram.account_of(SlotChoice(slot="deepgram", engine="deepgram", model=model, key=KEY))
    assert account.gives_up is not None
    assert Service(account, ManualClock(NOW), Patience(), OutboundPolicy()).patience.answer > account.gives_up
