"""The list of languages is the library's; tags of any shape become its codes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from faster_whisper import tokenizer, utils

from lapel.slices.transcription.models.weights.hub import REPOSITORIES
from lapel.slices.transcription.models.whisper.languages import LANGUAGES, SPOKEN_TODAY, primary


def test_the_languages_are_those_of_the_library() -> None:
    assert set(tokenizer._LANGUAGE_CODES) == LANGUAGES


def test_the_names_of_models_are_those_of_the_library() -> None:
    assert utils._MODELS == REPOSITORIES


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"), ("EN-us", "en"), ("pt_BR", "pt"), ("zh-Hant-TW", "zh"), (" de ", "de"), ("nb-NO", "no"),
        ("iw", "he"), ("cmn", "zh"), ("yue", "yue"),
    ],
)  # fmt: skip
def test_a_tag_becomes_a_code(tag: str, code: str) -> None:
    assert primary(tag) == code
    assert code in LANGUAGES


def test_latin_is_not_guessed_but_may_be_asked_for() -> None:
    assert {"de", "en", "es", "ja", "haw"} <= SPOKEN_TODAY < LANGUAGES
    assert "la" not in SPOKEN_TODAY
    assert primary("la-VA") in LANGUAGES


@pytest.mark.parametrize("tag", ["xx", "", "-", "english", "e\x00n", "../en"])
def test_what_is_no_language_stays_outside(tag: str) -> None:
    assert primary(tag) not in LANGUAGES


def test_asking_loads_no_model_library() -> None:
    heavy = "{'ctranslate2', 'faster_whisper', 'onnxruntime', 'numpy', 'huggingface_hub'}"
    code = "import sys, lapel.slices.transcription.models.whisper.languages; "
    code += f"sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
