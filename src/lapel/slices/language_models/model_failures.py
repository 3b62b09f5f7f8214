"""The exceptions of language models. Their types say whether another try can help."""

from __future__ import annotations

from typing import Literal, TypeAlias

# `budget`: the tokens of the day are used up. `context`: the prompt is too long for the model. `refused`: the
# model, or a filter of its engine, does not answer this. `truncated`: the answer was cut off where it must be
# whole. `schema`: the answer does not match the schema, twice. `account`: key, credit, plan or model.
FailureCode: TypeAlias = Literal[
    "account", "budget", "context", "engine", "refused", "repetition", "schema", "truncated"
]


class ModelFailed(Exception):
    """The call failed, and the same call would fail again. The operator sees the message, which names the
    remedy."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code
        self.message = message


class ModelAway(Exception):
    """The call failed, but may succeed later. `after`: the shortest wait in seconds; None if unknown."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.after = after
