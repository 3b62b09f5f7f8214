"""The exceptions of language models. Their types say whether another try can help."""

from __future__ import annotations

from typing import Literal, TypeAlias

from lapel.slices.providers.service import AwayHow

# `budget`: the tokens of the day are used up. `context`: the prompt is too long for the model. `refused`: the
# model, or a filter of its engine, does not answer this. `truncated`: the answer was cut off where it must be
# whole. `schema`: the answer does not match the schema, twice. `account`: key, credit, plan or model.
FailureCode: TypeAlias = Literal[
    "account", "budget", "context", "engine", "refused", "repetition", "schema", "truncated"
]
# `busy`: too many calls wait for the model.
ModelAwayHow: TypeAlias = AwayHow | Literal["busy"]


class ModelFailed(Exception):
    """The call failed, and the same call would fail again.

    Only the operator may see the message, which has the service's text and names the remedy; clients see
    `told_to_client`. `status`: the service's HTTP status.
    """

    def __init__(self, code: FailureCode, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code: FailureCode = code
        self.message = message
        self.status = status


class ModelAway(Exception):
    """The call failed, but may succeed later. Only the operator may see the message, as for ModelFailed.

    `after`: the shortest wait in seconds; None if unknown. `status`: the service's HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        how: ModelAwayHow = "failed",
        after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.how: ModelAwayHow = how
        self.after = after
        self.status = status
