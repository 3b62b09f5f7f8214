"""The cases of the authorization matrix, from operations and slices."""

from __future__ import annotations

from collections.abc import Sequence

from lapel.foundation.core.actors import ActorKind
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.operations import Operation
from lapel.foundation.slices import Slice
from lapel.slices.projects.scopes import IMPLIED, SCOPES, Scope


def private(operations: Sequence[Operation]) -> list[Operation]:
    """The operations that need a token."""
    return [each for each in operations if not each.access.public]


def callers(operations: Sequence[Operation]) -> list[tuple[Operation, ActorKind]]:
    """Each operation with each kind of token that may call it."""
    return [(each, kind) for each in operations for kind in sorted(each.access.callers)]


def usual_caller(operation: Operation) -> ActorKind:
    """A kind of token that may call it: a key where it may."""
    return "key" if "key" in operation.access.callers else min(operation.access.callers)


def refused_kinds(slices: Sequence[Slice]) -> list[ActorKind]:
    """The kinds of tokens, other than keys: an operation that does not name one refuses it."""
    return sorted(kind.name for each in slices for kind in each.token_kinds if kind.name != "key")


def wrong_tokens(good: str) -> dict[str, str | None]:
    """Authorization headers that nobody may come in with."""
    return {
        "none": None,
        "empty": "",
        "scheme only": "Bearer",
        "no token": "Bearer -",
        "another scheme": f"Basic {good}",
        "no scheme": good,
        "nonsense": "Bearer nonsense",
        "cut": f"Bearer {good[:-1]}",
        "longer": f"Bearer {good}0",
        "mistyped": f"Bearer {good[:-1]}{'0' if good[-1] != '0' else '1'}",
        "other world": f"Bearer {good.replace('test', 'live')}",
        "two": f"Bearer {good} {good}",
        "latin": "Bearer sk_test_\xe4\xf6\xfc",
    }


def scopes_without(access: Access) -> tuple[Scope, ...]:
    """Every scope but those with which a key is admitted, and those that imply one of them."""
    admitting = {access.scope, access.or_scope}
    return tuple(each for each in SCOPES if not admitting & {each, *IMPLIED.get(each, frozenset())})


def scopes_of_events(operation: Operation) -> set[str]:
    """The scopes to read events, for an operation that lets a webhook have some. It needs those of their
    types (`tests/webhooks/test_webhook_keys.py`)."""
    path = operation.path.replace("webhook-endpoints", "webhooks")
    sends = path.endswith(("/redeliver", "/recover", "/test", "/resend"))
    registers = path == "/v1/webhooks" or (
        path == "/v1/webhooks/{webhook_id}" and operation.method == "PATCH"
    )
    if operation.method == "GET" or not (sends or registers):
        return set()
    return {
        "config:read",
        "devices:read",
        "recordings:read",
        "summaries:read",
        "transcriptions:read",
        "webhooks:read",
    }
