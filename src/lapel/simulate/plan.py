"""What a simulation is to be like."""

from __future__ import annotations

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How often a device does something beside its heartbeat, per hour of its own time."""

    recordings: float = 30
    commands: float = 20
    refreshes: float = 6
    rebindings: float = 2
    spells: float = 4  # of being offline


NOTHING = Rates(recordings=0, commands=0, refreshes=0, rebindings=0, spells=0)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation. The fleet's time runs `speed` times as fast as the clock.

    minutes: how long the fleet lives, on the clock. interval: seconds of its own time between two
    heartbeats of a device. drop: which share of all answers is thrown away. updates: which share of
    the devices is offered new firmware. connections: how many calls may be under way at once.
    seed: the same seed makes the same choices; what meets what is up to the network. run: names what the
    simulation makes, so that two of them never meet. keep: leave everything in place at the end.
    """

    devices: int
    minutes: float
    run: str
    seed: int
    interval: float = 60
    speed: float = 1
    drop: float = 0
    updates: float = 0.3
    connections: int = 64
    rates: Rates = Rates()
    keep: bool = False

    @property
    def model(self) -> str:
        """The model of its devices: firmware made for it is offered to nobody else."""
        return f"simulated_{self.run}"

    @property
    def people(self) -> int:
        """How many end users share the devices."""
        return min(self.devices, 1000)
