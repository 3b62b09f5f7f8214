"""The reference pages leave nothing out: a code, a limit or a kind without a line fails here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from lapel import app
from lapel.setting_fields import variable
from lapel.settings import Settings
from lapel.slices.transcription.models.whisper import recognizer
from tests.slices.pages import errors_of, limits_of
from tests.support.declared import declared_operations

DOCS = Path(__file__).parents[2] / "docs"


def test_every_error_has_a_line_and_every_line_an_error() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `([a-z0-9_]+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    documented = {(int(status), code) for status, code in rows}
    assert documented == errors_of(app.SLICES)
    assert len(rows) == len(documented)


def test_every_limit_is_told_with_its_default() -> None:
    text = (DOCS / "limits.md").read_text()
    settings = Settings.from_env({})
    for name in (
        "rate_per_second",
        "rate_per_minute",
        "upload_urls_per_minute",
        "transcriptions_per_minute",
        "device_per_minute",
    ):
        row = next(line for line in text.splitlines() if f"`{variable(name)}`" in line)
        assert f"| {getattr(settings, name):,} a " in row


def test_every_rate_limit_of_a_slice_is_told_with_its_default() -> None:
    text, settings = (DOCS / "limits.md").read_text(), Settings.from_env({})
    for limit in limits_of(app.SLICES):
        assert f"| {limit.per_minute(settings):,} a minute |" in text, limit.name


def test_what_the_local_engine_runs_on_is_told() -> None:
    loaded = inspect.getsource(recognizer)
    row = next(
        line for line in (DOCS / "providers.md").read_text().splitlines() if line.startswith("| `local` |")
    )
    assert ('device="cpu"' in loaded) == ("it uses no GPU" in row)


def test_every_kind_of_idempotency_is_told() -> None:
    text = (DOCS / "api.md").read_text()
    for kind in {each.idempotency for each in declared_operations()}:
        assert f"\n| `{kind}` |" in text
