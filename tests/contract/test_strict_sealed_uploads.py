"""The strict reader, for the calls of encrypted uploads."""

from __future__ import annotations

from tests.contract.strict_samples import MEDIA, RECORDING, SESSION, STAGING, with_change
from tests.contract.test_strict_reader import PLACES, SESSIONS, faults

PUBLISHED = {"published_at", "plaintext_length", "completion_receipt_base64", "completion_receipt_sha256"}


def test_a_session_that_has_begun_names_where_it_is_staged() -> None:
    begun = {name: value for name, value in SESSION.items() if name not in PUBLISHED}
    begun |= {"state": "staging", "staging": STAGING}
    one = f"{SESSIONS}/{SESSION['session_id']}"
    for path in (SESSIONS, f"{one}/recover"):
        assert faults(begun, path, method="POST", status=201) == ""
        assert "it can be staged" in faults({**begun, "state": "ready"}, path, method="POST", status=200)
    assert faults(STAGING, f"{one}/staging-url", method="POST") == ""
    cookie = with_change(STAGING, "headers.Cookie", "a")
    assert "unknown Cookie" in faults(cookie, f"{one}/staging-url", method="POST")
    accepted = {"session_id": SESSION["session_id"], "owner_revision": 1, "state": "ready"}
    for status in (200, 202):
        assert faults(accepted, f"{one}/manifest", method="POST", status=status) == ""
    assert "without" in faults({}, f"{one}/manifest", method="POST", status=202)


def test_what_phones_read_has_64_kib_at_most() -> None:
    large = with_change(RECORDING, "media", [{**MEDIA, "id": f"med_{n:024}"} for n in range(300)])
    assert "clients read 65536" in faults(large, "/v1/recordings", method="POST", status=201)
    assert "clients read" not in faults(large, PLACES["recording"][0])
