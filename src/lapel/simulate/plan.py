"""The parameters of a simulation."""

from __future__ import annotations

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How often a device does something besides its heartbeat, per hour of simulated time."""

    recordings: float = 30
    commands: float = 20
    refreshes: float = 6
    rebindings: float = 2
    spells: float = 4  # periods of being offline


NOTHING = Rates(recordings=0, commands=0, refreshes=0, rebindings=0, spells=0)


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation. Simulated time runs `speed` times as fast as the clock.

    minutes: real time that the fleet lives. interval: seconds of simulated time between two heartbeats of a
    device; life.py varies each interval by up to 10 %. drop: share of all answers that gets lost, 0 to 1.
    updates: share of the devices that is offered new firmware, 0 to 1. connections: the most calls under way
    at once. seed: the same seed repeats the choices, but the order of calls depends on the network. run: a
    part of every name in the simulation, so that two simulations never have the same name. keep: remove
    nothing at the end. cli/commands/simulate.py has the defaults of the command.
    """

    devices: int
    minutes: float
    run: str
    seed: int
    interval: float
    speed: float
    drop: float
    updates: float
    connections: int = 64
    rates: Rates = Rates()
    keep: bool = False

    @property
    def model(self) -> str:
        """The model of the simulated devices. No other device has it, so none is offered their firmware."""
        return f"simulated_{self.run}"

    @property
    def people(self) -> int:
        """The number of end users who share the devices."""
        return min(self.devices, 1000)
