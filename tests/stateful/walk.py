"""What all rules of the state machine stand on."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from tests.stateful.background import Background
from tests.stateful.caller import Caller
from tests.stateful.checks import Checks
from tests.stateful.model import World
from tests.support.tenants import Tenant

picks = st.integers(0, 10**6)
names = st.sampled_from([None, "Weekly", "Réunion 🎙", "a/b\\c\"'"])
numbers = count(1)


class Walk(RuleBasedStateMachine):
    """One project's test world, and how rules choose in it."""

    served: ClassVar[Background]
    call: ClassVar[Caller]
    stranger: ClassVar[Tenant]
    tenant: Tenant
    world: World
    checks: Checks
    # Creations that may be repeated: path, body, Idempotency-Key, id.
    stored: list[tuple[str, dict[str, Any], str, str]]

    def begin_world(self) -> None:
        """A fresh project, and an empty model of it."""
        self.tenant = self.served.tenant()
        self.world = World()
        self.checks = Checks(self.served, self.call, self.tenant, self.stranger, self.world)
        self.stored = []

    @property
    def token(self) -> str:
        """The project's secret key."""
        return self.tenant.test_key

    @staticmethod
    def pick(items: Any, number: int) -> Any:
        """One of them."""
        chosen = list(items)
        return chosen[number % len(chosen)]

    def fresh(self) -> str:
        """A new Idempotency-Key."""
        return f"key-{next(numbers)}"
