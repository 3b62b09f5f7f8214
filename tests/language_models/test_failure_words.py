"""What a client reads when a language model fails, and what the operator reads."""

from __future__ import annotations

from typing import get_args

import pytest

from lapel.slices.language_models.failure_words import told_to_client, told_to_log
from lapel.slices.language_models.model_failures import FailureCode, ModelAway, ModelAwayHow, ModelFailed

TEXT = "Acme answered 400: your org-7 may not. Set another one: `lapel providers set claude`."
FAILURES = [
    *(ModelFailed(code, TEXT, status=400) for code in get_args(FailureCode) if code != "budget"),
    *(ModelAway(TEXT, how=how, status=503) for each in get_args(ModelAwayHow) for how in get_args(each)),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: getattr(each, "code", None) or each.how)
def test_a_client_reads_slot_cause_status_and_remedy(failure: ModelFailed | ModelAway) -> None:
    told = told_to_client(failure, "claude")
    assert told.startswith("The language model of `claude` gave no usable answer: ")
    assert f"(HTTP {failure.status}). " in told
    assert told.endswith((" another `provider`.", "tell the operator of this server."))
    assert "org-7" not in told
    assert "lapel providers" not in told


def test_every_failure_reads_differently() -> None:
    assert len({told_to_client(each, "claude") for each in FAILURES}) == len(FAILURES)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ModelFailed("account", TEXT, status=401), "its service refused the key (HTTP 401)"),
        (ModelFailed("account", TEXT, status=402), "its account cannot be used (HTTP 402)"),
        (ModelAway(TEXT, how="overloaded", status=429), "overloaded, or limits the requests (HTTP 429)"),
        (ModelAway(TEXT, how="timed_out"), "it did not answer in time. "),
        (ModelFailed("budget", "Ask again after midnight."), "Ask again after midnight."),
    ],
)
def test_the_cause_is_told(failure: ModelFailed | ModelAway, words: str) -> None:
    assert words in told_to_client(failure, "openai")


def test_the_log_has_the_services_text_but_no_answer() -> None:
    assert told_to_log(ModelFailed("account", TEXT, status=401), "claude") == {
        "slot": "claude", "how": "account", "status": 401, "error": TEXT,
    }  # fmt: skip
    assert told_to_log(ModelAway(TEXT, how="overloaded"), "claude")["error"] == TEXT
    assert told_to_log(ModelFailed("schema", "Jane is ill is not of type"), "claude")["error"] is None
