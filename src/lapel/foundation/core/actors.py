"""The caller of a request: the holder of a token, and the data that the token may reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

# The name of the kind of token that the caller has (`identity/token_kinds.py`), or `anonymous`.
ActorKind: TypeAlias = str
Mode = Literal["live", "test"]


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The holder of a token, resolved to one world of one project.

    `id` is the key's, device's, recording's or end user's id. `end_user_id` is set for a key that is scoped
    to one end user, for a bound device and for an end-user token. `expires_at` is set for upload and end-user
    tokens, and `issued_by` (the key that the token comes from, None when it comes from a device) for upload
    tokens. `binding_generation`:
    which binding a device is in, counted from 1; 0 for other callers. Callers with the same `space` share
    idempotency keys. A caller with an empty `space` has idempotency keys of its own, and a device has new
    ones after each binding.
    """

    kind: ActorKind
    id: str
    world_id: int
    project_id: str
    mode: Mode
    scopes: frozenset[str] = frozenset()
    end_user_id: str | None = None
    space: str = ""
    binding_generation: int = 0
    expires_at: datetime | None = None
    issued_by: str | None = None
    # A device token that was replaced may still do one thing: request the replacement again.
    refresh_only: bool = False
    # Identifies one of the device's tokens, so that a refresh replaces only that token.
    token_hash: bytes = b""

    @property
    def scoped_to(self) -> str | None:
        """The end user that a restricted key is scoped to; None for every other caller."""
        return self.end_user_id if self.kind == "key" else None

    @property
    def principal(self) -> str:
        """The owner of the idempotency keys that the caller sends.

        The callers of one `space` share their keys; every other caller has keys of its own. A device gets a
        new set of keys with each binding, so that no end user gets the stored answers of the previous end
        user.
        """
        if self.space:
            return self.space
        own = f"{self.kind}:{self.id}"
        return f"{own}:{self.binding_generation}" if self.binding_generation else own


ANONYMOUS = Actor(kind="anonymous", id="", world_id=0, project_id="", mode="live")
