"""`lapel doctor` about the language model of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lapel.cli.doctor.checks import Finding
from lapel.cli.doctor.local_model_checks import local_model
from lapel.settings import Settings
from lapel.slices.language_models.local import language_weights
from lapel.slices.language_models.local.language_weights import LanguageWeights
from tests.language_models.local.ggufs import gguf


def found(home: Path, **settings: str) -> Finding:
    variables = {f"LAPEL_{name.upper()}": value for name, value in settings.items()}
    finding = local_model(Settings.from_env({"HOME": str(home)} | variables))
    assert finding is not None
    return finding


def test_a_machine_without_a_model_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_weights, "packaged_weights", lambda _env: None)
    finding = found(tmp_path)
    assert (finding.state, finding.detail.startswith("none: ")) == ("ok", True)
    assert "make local-llm" in (finding.remedy or "")
    assert found(tmp_path, language_model="extractive").remedy is None


def test_a_file_of_the_operators_own_is_named_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "json")
    file = gguf(tmp_path)
    assert found(tmp_path, language_model=str(file)).detail == f"tiny-model, {file}"
    finding = found(tmp_path, language_model=f"{file}.gone")
    assert (finding.state, "No such file" in finding.detail) == ("broken", True)
    assert "LAPEL_LANGUAGE_MODEL=/path" in (finding.remedy or "")
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "nothing_of_that_name")
    assert "nothing_of_that_name" in found(tmp_path, language_model=str(file)).detail


def test_a_joined_file_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_weights, "ENGINE_PACKAGE", "json")
    weights = LanguageWeights("small", tmp_path / "small.gguf", language_weights.PACKAGED)
    monkeypatch.setattr(language_weights, "packaged_weights", lambda _env: weights)
    assert "first request joins" in found(tmp_path).detail
    weights.file.write_bytes(b"something else")
    finding = found(tmp_path)
    assert (finding.state, "SHA-256" in finding.detail) == ("broken", True)


def test_a_machine_that_only_stores_has_no_finding(tmp_path: Path) -> None:
    variables = {
        "LAPEL_ROLE": "store",
        "LAPEL_S3_ACCESS_KEY_ID": "AKID",
        "LAPEL_S3_SECRET_ACCESS_KEY": "s" * 40,
    }
    assert local_model(Settings.from_env({"HOME": str(tmp_path)} | variables)) is None
