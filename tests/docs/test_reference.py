"""The reference pages leave nothing out: a code, a limit or a kind without a line fails here."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lapel import app
from lapel.foundation.core.rate_limit import RateLimit
from lapel.setting_fields import variable
from lapel.settings import Settings, docs
from lapel.slices.transcription.models.whisper import loaded_whisper
from tests.slices.pages import errors_of, limits_of
from tests.support.declared import declared_operations

DOCS = Path(__file__).parents[2] / "docs"
LIMITS = (DOCS / "limits.md").read_text(encoding="utf-8")


def test_every_error_has_a_line_and_every_line_an_error() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `([a-z0-9_]+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    documented = {(int(status), code) for status, code in rows}
    assert documented == errors_of(app.SLICES)
    assert len(rows) == len(documented)


def test_every_limit_is_told_with_its_default() -> None:
    settings = Settings.from_env({})
    limits = [name for name in docs() if "_per_" in name]
    assert len(limits) > 5
    for name in limits:
        (told,) = [line for line in LIMITS.splitlines() if f"`{variable(name)}`" in line]
        assert default_of(name, getattr(settings, name)) in told, told


def default_of(name: str, value: int | None) -> str:
    """How the page writes the default of a limit. None: it depends on the database."""
    unit = name.rpartition("_per_")[2]
    if unit in ("second", "minute"):
        return f"| {value:,} a {unit} | `{variable(name)}` |"
    if value is None:
        own = {"LAPEL_DATABASE_URL": "postgresql://localhost/lapel", "LAPEL_SECRET": "x" * 40}
        return f"{Settings.from_env(own).rows_limit >> 30} GiB (`{variable(name)}`)"
    if unit == "world":
        return f"{value:,} for each {unit} of a project (`{variable(name)}`)"
    if "_bytes_" in name:
        return f"{value >> 20} MiB for each device and {unit} (`{variable(name)}`)"
    return f"`{variable(name)}` ({value:,}; `0` is no limit)"


@pytest.mark.parametrize("limit", limits_of(app.SLICES), ids=lambda each: each.name)
def test_every_rate_limit_of_a_slice_has_a_row_with_its_own_setting(limit: RateLimit) -> None:
    settings = Settings.from_env({})
    names = [
        name
        for name in docs()
        if name.endswith("_per_minute")
        and limit.per_minute(replace(settings, **{name: 987})) != limit.per_minute(settings)
    ]
    assert len(names) == 1, "the limit depends on one setting, which the test above finds on the page"
    assert limit.per_minute(settings) == getattr(settings, names[0])


def test_what_the_local_engine_runs_on_is_told() -> None:
    loaded = inspect.getsource(loaded_whisper)
    row = next(
        line for line in (DOCS / "providers.md").read_text().splitlines() if line.startswith("| `local` |")
    )
    assert ('device="cpu"' in loaded) == ("it uses no GPU" in row)


def test_every_kind_of_idempotency_is_told() -> None:
    text = (DOCS / "api.md").read_text()
    for kind in {each.idempotency for each in declared_operations()}:
        assert f"\n| `{kind}` |" in text


def test_the_generators_page_names_the_typescript_that_is_tested() -> None:
    """Left out, npm takes the newest TypeScript, with which the generator may not start."""
    locked = json.loads((DOCS.parent / "tests" / "generators" / "npm" / "package.json").read_text())
    major = locked["devDependencies"]["typescript"].partition(".")[0]
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert f"npx -p typescript@{major} -p @hey-api/openapi-ts openapi-ts " in text
