"""The exceptions of calls to providers. Their types say whether another try can help.

Slices that call providers map them to words of their own.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# What a refusal is about: key, credit or plan of the account; the model or the address in the settings; the
# service, which limits or is overloaded; the request itself.
Cause: TypeAlias = Literal["account", "settings", "service", "request"]
# How a call failed that may succeed later. `connection`: there was none, or it broke off. `failed`: the
# service answered that it failed.
AwayHow: TypeAlias = Literal["connection", "failed", "overloaded", "timed_out", "unreadable"]


class ProviderFailed(Exception):
    """The call failed, and another try cannot help.

    The operator sees the message: `fault`, and the `remedy`, which only the operator can apply.
    """

    def __init__(self, fault: str, *, remedy: str = "", cause: Cause = "settings") -> None:
        self.fault = fault
        self.remedy = remedy
        self.message = f"{fault} {remedy}".rstrip()
        self.cause: Cause = cause
        super().__init__(self.message)


class RefusedForGood(ProviderFailed):
    """A service refuses for good. `status`: the answer's HTTP status; `detail`: its codes and message."""

    def __init__(
        self, fault: str, status: int, detail: str, *, remedy: str = "", cause: Cause = "request"
    ) -> None:
        super().__init__(fault, remedy=remedy, cause=cause)
        self.status = status
        self.detail = detail


class ProviderAway(Exception):
    """The call failed, but another try may help.

    `after`: the shortest wait in seconds; None if unknown. `status`: the HTTP status of a refusal.
    """

    def __init__(
        self,
        message: str,
        *,
        how: AwayHow = "failed",
        after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.how: AwayHow = how
        self.after = after
        self.status = status
