"""Random calls of devices and about devices, against a whole server and the model: the fleet alone.

The large machine (test_machine.py) has these rules too; here they meet each other more often.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, invariant, run_state_machine_as_test

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.stateful.background import Background, background, rolls_dice
from tests.stateful.caller import Caller
from tests.stateful.device_rules import DeviceRules
from tests.stateful.end_user_rules import EndUserRules
from tests.stateful.walk import numbers
from tests.support.postgres import create_database

pytestmark = pytest.mark.deep

EXAMPLES = int(os.environ.get("LAPEL_STATEFUL_EXAMPLES", "3"))
STEPS = int(os.environ.get("LAPEL_STATEFUL_STEPS", "40"))


class FleetMachine(EndUserRules, DeviceRules):
    """Two devices and who wears them."""

    @initialize()
    def begin(self) -> None:
        self.begin_world()
        self.create_end_user("zero", None)
        self.begin_to_wear("PIN4G0001", 0)

    @invariant()
    def the_server_shows_the_model(self) -> None:
        self.checks.devices()
        self.checks.events()
        if self.at_device in self.world.devices:
            self.checks.device(self.at_device)
        if self.world.dead_tokens:
            self.checks.dead(self.world.dead_tokens[-1])

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.end_of_devices()
            for token in self.world.dead_tokens:
                self.checks.dead(token)


@pytest.fixture
def served(postgres: EmbeddedPostgres, tmp_path: Path) -> Generator[Background]:
    url = create_database(postgres, f"fleet_{next(numbers)}", "template")
    with background(tmp_path, url) as started:
        yield started


@rolls_dice
@pytest.mark.timeout(900)
def test_devices_and_the_model_never_disagree(served: Background) -> None:
    FleetMachine.served = served
    FleetMachine.call = Caller(served.live.url)
    FleetMachine.stranger = served.tenant()
    try:
        run_state_machine_as_test(
            FleetMachine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                print_blob=True,
                phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
    finally:
        FleetMachine.call.close()
