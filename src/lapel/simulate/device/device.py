"""The state of a simulated device, small enough that a hundred thousand devices fit into memory.

Recordings, commands, token refreshes, rebindings and offline periods happen at random times with constant
rates (Poisson processes).
"""

from __future__ import annotations

import enum
import zlib
from array import array
from dataclasses import dataclass, field
from random import Random
from uuid import NAMESPACE_OID, uuid5

from lapel.simulate.client.wire import UploadReply
from lapel.simulate.plan import FleetPlan

FIRST_VERSION = "1.0.0"
NEVER = float("inf")
_OFFERS_WITHIN = 300  # seconds


class Activity(enum.IntEnum):
    """Activities of a device, and of the backend for that device."""

    BEAT = 0
    RECORD = 1
    UPLOAD = 2
    COMMAND = 3
    REFRESH = 4
    REBIND = 5
    OFFER = 6
    SPELL = 7


@dataclass(slots=True)
class Pending:
    """A recording that is not uploaded yet, and its progress. `number` determines its bytes."""

    number: int
    recording_id: str | None = None
    upload: UploadReply | None = None
    is_stored: bool = False


@dataclass(slots=True)
class SimulatedDevice:
    """One device. All times are seconds of simulated time."""

    index: int
    serial_number: str
    id: str = ""
    end_user: int = 0
    token: str = ""
    generation: int = 0
    version: str = FIRST_VERSION
    update: str | None = None  # the assignment that the next heartbeat reports as applied
    failure: tuple[str, str] | None = None  # the assignment that failed, and why
    battery: int = 100
    is_charging: bool = False
    is_offline: bool = False
    is_refreshing: bool = False  # asked for a new token, no answer yet
    steps: int = 0
    beats: int = 0
    recordings: int = 0
    events: int = 0
    revision: int = 0
    pending: list[Pending] = field(default_factory=list[Pending])
    unaccepted: list[str] = field(default_factory=list[str])
    executed: dict[str, str] = field(default_factory=dict[str, str])  # commands whose ack is not answered
    due: array[float] = field(default_factory=lambda: array("d"))

    def uuid_of(self, plan: FleetPlan, number: int) -> str:
        """The UUID of the device's recording with that number; it is the same at each call."""
        return str(uuid5(NAMESPACE_OID, f"{plan.run}-{self.index}-{number}"))

    @property
    def next(self) -> Activity:
        """The activity that is due first."""
        return Activity(min(range(len(self.due)), key=self.due.__getitem__))


def dice_of(plan: FleetPlan, device: SimulatedDevice, purpose: str, number: int) -> Random:
    """A random generator, seeded with the plan's seed, the device, the purpose and the number."""
    return Random(zlib.crc32(f"{plan.seed}/{device.index}/{purpose}/{number}".encode()))  # noqa: S311


def schedule(plan: FleetPlan, device: SimulatedDevice) -> None:
    """Sets the time of each activity's first occurrence."""
    dice = dice_of(plan, device, "life", 0)
    rates = plan.rates
    length = plan.minutes * 60 * plan.speed
    device.due = array("d", [NEVER] * len(Activity))
    device.due[Activity.BEAT] = dice.random() * plan.interval
    for activity, rate in (
        (Activity.RECORD, rates.recordings),
        (Activity.COMMAND, rates.commands),
        (Activity.REFRESH, rates.refreshes),
        (Activity.REBIND, rates.rebindings),
        (Activity.SPELL, rates.spells),
    ):
        device.due[activity] = after(dice, 0, rate)
    if dice.random() < plan.updates:
        device.due[Activity.OFFER] = dice.random() * min(length / 2, _OFFERS_WITHIN)


def after(dice: Random, now: float, rate: float) -> float:
    """The next time, in seconds, of an event that happens `rate` times an hour on average."""
    return now + dice.expovariate(rate / 3600) if rate > 0 else NEVER


def spell(dice: Random) -> float:
    """How long a device stays offline, in seconds."""
    return dice.uniform(5, 120)
