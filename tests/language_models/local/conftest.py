"""A generator whose model is a real process with a script, see scripted_child.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from lapel.settings import Settings
from lapel.slices.language_models.local.language_weights import LanguageWeights
from lapel.slices.language_models.local.local_generator import LocalGenerator
from tests.language_models.local.ggufs import gguf


@pytest.fixture
async def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[LocalGenerator]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    weights = LanguageWeights("tiny", gguf(tmp_path))
    made = LocalGenerator(
        weights,
        Settings.from_env({"HOME": str(tmp_path)}),
        folder=tmp_path,
        child="tests.language_models.local.scripted_child",
    )
    yield made
    await made.aclose()
    left = [each.name for each in tmp_path.iterdir()]  # noqa: ASYNC240
    assert left == [weights.file.name]
