"""What `lapel doctor` advises about workers can be done on the installation that it examines."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

import lapel.cli
from lapel.cli.doctor.checks import another_worker, first_worker
from lapel.setting_fields import SettingsError
from lapel.settings import Settings

COMMAND = "lapel serve --role worker"
STORE = {
    "LAPEL_S3_ENDPOINT": "https://s3.example.com",
    "LAPEL_S3_ACCESS_KEY_ID": "a",
    "LAPEL_S3_SECRET_ACCESS_KEY": "b",
}
DATABASE = {"LAPEL_DATABASE_URL": "postgresql://example.com/lapel", "LAPEL_SECRET": "x" * 32}


@pytest.mark.parametrize("env", [{}, STORE, DATABASE, {**STORE, **DATABASE}])
def test_a_worker_is_advised_only_where_it_would_start(env: Mapping[str, str]) -> None:
    settings = Settings.from_env(env)
    try:
        Settings.from_env({**env, "LAPEL_ROLE": "worker"})
    except SettingsError:
        starts = False
    else:
        starts = True
    assert (COMMAND in first_worker(settings)) == starts
    assert (COMMAND in another_worker(settings)) == starts


def test_no_other_sentence_of_a_command_advises_it() -> None:
    source = Path(lapel.cli.__file__).parent
    found = [
        f"{path.relative_to(source)}:{node.name}"
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(
            isinstance(each, ast.Constant) and "--role worker" in str(each.value) for each in ast.walk(node)
        )
    ]
    assert sorted(found) == ["doctor/checks.py:another_worker", "doctor/checks.py:first_worker"]
