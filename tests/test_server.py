"""One listener, two hosts: which request is the store's. And what is done after the start."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from lapel.foundation.core.asgi import routed_path
from lapel.hosting.api_server import mounted_store
from tests.support.running import settings_for


@pytest.mark.parametrize(
    ("store_url", "host", "path", "claimed"),
    [
        ("https://files.example.com:443", b"files.example.com", "/lapel/x", True),
        ("https://files.example.com", b"FILES.example.com", "/v1/recordings", True),
        ("https://files.example.com", b"api.example.com", "/lapel/x", False),
        ("https://api.example.com/files", b"api.example.com", "/files/lapel/x", True),
        ("https://api.example.com:443/files", b"api.example.com", "/v1/recordings", False),
        ("https://api.example.com:443/files", b"api.example.com", "/filesystem", False),
    ],
)
def test_the_store_takes_what_is_its_own(
    tmp_path: Path, store_url: str, host: bytes, path: str, claimed: bool
) -> None:
    settings = settings_for(
        tmp_path,
        "postgresql://nobody/nothing",
        8443,
        LAPEL_PUBLIC_URL="https://api.example.com",
        LAPEL_STORE_PUBLIC_URL=store_url,
    )
    store = mounted_store(settings)
    assert store is not None
    assert store.claims({"type": "http", "path": path, "headers": [(b"host", host)]}) is claimed


@pytest.mark.parametrize(
    ("raw", "routed"),
    [
        (b"/v1/recordings", "/v1/recordings"),
        (b"/v1/%72ecordings", "/v1/%72ecordings"),
        (b"/v1%2frecordings", "/v1%2frecordings"),
        (b"/v1%252Frecordings", "/v1%252Frecordings"),
        (b"/store/lapel%2fx", "/store/lapel%2fx"),
    ],
)
def test_a_path_is_routed_as_it_was_sent(raw: bytes, routed: str) -> None:
    scope = {"type": "http", "path": unquote(raw.decode()), "raw_path": raw}
    assert routed_path(scope) == routed
