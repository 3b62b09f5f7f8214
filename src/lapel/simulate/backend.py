"""The backend of the maker of the devices: it makes the calls that need an API key."""

from __future__ import annotations

from random import Random

import msgspec

from lapel.simulate.client.caller import Answer, Caller
from lapel.simulate.client.wire import (
    AssignmentReply,
    Bound,
    CommandReply,
    CreatedReply,
    GrantReply,
    PageReply,
    RecordingReply,
)
from lapel.simulate.device.device import FIRST_VERSION, SimulatedDevice
from lapel.simulate.plan import FleetPlan

# Scopes that the backend's key needs. Binding a device needs `recordings:write`, and so do phones that upload
# encrypted recordings.
SCOPES = (
    "devices:read",
    "devices:write",
    "end_users:read",
    "end_users:write",
    "recordings:read",
    "recordings:write",
    "firmware:write",
)
NEW_VERSION = "2.0.0"
_FIRMWARE_BYTES = 128 * 1024
_TTL_SECONDS = 3600


class _ErrorBody(msgspec.Struct):
    resource_id: str


class _Exists(msgspec.Struct):
    error: _ErrorBody


class Backend:
    """Registers and binds devices, sends commands, offers updates, and removes everything at the end.

    The methods raise CallFailed when a call gets no expected answer, and SimulationError when an answer
    breaks the contract.
    """

    def __init__(self, caller: Caller, key: str, plan: FleetPlan) -> None:
        self.caller = caller
        self.key = key
        self._plan = plan
        self._people: dict[int, str] = {}
        self._release: str | None = None

    def end_user_id(self, number: int) -> str:
        """The server's id of the end user with this number."""
        return self._people[number]

    async def make_end_user(self, number: int) -> None:
        """Makes an end user, to whom devices can be bound.

        Raises CallFailed and SimulationError as the class says.
        """
        external_id = f"{self._plan.run}-{number}"
        answer = await self.caller.api(
            "end user",
            "POST",
            "/end-users",
            self.key,
            {"external_id": external_id, "name": f"Simulated {number}"},
            key=external_id,
            expected=(201, 409),
        )
        self._people[number] = _made_or_there(answer)

    async def register(self, device: SimulatedDevice) -> None:
        """Registers the device. Raises CallFailed and SimulationError as the class says."""
        answer = await self.caller.api(
            "register",
            "POST",
            "/devices",
            self.key,
            {
                "serial_number": device.serial_number,
                "model": self._plan.model,
                "firmware_version": FIRST_VERSION,
            },
            expected=(200, 201),
        )
        device.id = answer.read(CreatedReply).id

    async def bind(self, device: SimulatedDevice, end_user: int) -> None:
        """Binds the device to an end user, and stores the device's token.

        Raises CallFailed and SimulationError as the class says.
        """
        answer = await self.caller.api(
            "bind",
            "POST",
            f"/devices/{device.id}/bind",
            self.key,
            {"end_user_id": self._people[end_user]},
            key=f"bind-{device.serial_number}-{device.generation}-{device.steps}",
        )
        bound = answer.read(Bound)
        device.token, device.generation, device.end_user = (
            bound.device_token,
            bound.binding_generation,
            end_user,
        )

    async def unbind(self, device: SimulatedDevice) -> None:
        """Unbinds the device; its token ends. Raises CallFailed when there is no expected answer."""
        await self.caller.api("unbind", "POST", f"/devices/{device.id}/unbind", self.key)

    async def command(self, device: SimulatedDevice, kind: str, key: str) -> str:
        """Sends a command; returns its id. Raises CallFailed and SimulationError as the class says."""
        body = {"type": kind, "idempotency_key": key, "ttl_seconds": _TTL_SECONDS}
        answer = await self.caller.api(
            "command", "POST", f"/devices/{device.id}/commands", self.key, body, expected=(200, 201)
        )
        return answer.read(CommandReply).id

    async def wifi_grant(self, device: SimulatedDevice) -> str:
        """A grant to change the device's Wi-Fi. Raises CallFailed and SimulationError as the class says."""
        answer = await self.caller.api(
            "wifi grant", "POST", f"/devices/{device.id}/wifi-config/grant", self.key, {}
        )
        return answer.read(GrantReply).grant_blob

    async def make_firmware(self, dice: Random) -> None:
        """Uploads and releases the firmware that `offer` offers later.

        Raises CallFailed and SimulationError as the class says.
        """
        fields = {"version": NEW_VERSION, "model": self._plan.model, "release_sequence": "2"}
        answer = await self.caller.form(
            "firmware upload", "/firmware-releases", self.key, fields, dice.randbytes(_FIRMWARE_BYTES)
        )
        release = _made_or_there(answer)
        await self.caller.api("release", "POST", f"/firmware-releases/{release}/release", self.key)
        self._release = release

    async def offer(self, device: SimulatedDevice) -> str | None:
        """Offers the new version; returns the assignment's id, or None when no firmware was made.

        Raises CallFailed and SimulationError as the class says.
        """
        if self._release is None:
            return None
        answer = await self.caller.api(
            "ota offer",
            "POST",
            f"/devices/{device.id}/ota",
            self.key,
            {"firmware_release_id": self._release, "deadline_hours": 1},
            key=f"ota-{device.serial_number}",
            expected=(200, 201),
        )
        return answer.read(AssignmentReply).id

    async def recording_that_began(self, device_id: str, started_at: str) -> str | None:
        """The id of the device's recording with this `metadata.started_at`; None if the server has none.

        Raises CallFailed and SimulationError as the class says.
        """
        rest = ""
        while True:
            path = f"/recordings?device_id={device_id}&limit=100{rest}"
            page = (await self.caller.api("look up", "GET", path, self.key)).read(PageReply[RecordingReply])
            for row in page.data:
                if row.metadata.get("started_at") == started_at:
                    return row.id
            if not page.has_more:
                return None
            rest = f"&cursor={page.next_cursor}"

    async def remove_end_user(self, number: int) -> None:
        """Deletes an end user and their recordings. Raises CallFailed when there is no expected answer."""
        path = f"/end-users/{self._people[number]}"
        await self.caller.api("erase", "DELETE", path, self.key, expected=(204, 404))

    async def remove(self, device: SimulatedDevice) -> None:
        """Deletes an unbound device. Raises CallFailed when there is no expected answer."""
        await self.caller.api("remove", "DELETE", f"/devices/{device.id}", self.key, expected=(204, 404))

    @property
    def people(self) -> list[int]:
        """Numbers of the end users that were made."""
        return list(self._people)


def _made_or_there(answer: Answer) -> str:
    """The id of the new resource (201), or of the one that an earlier call with a lost answer made (409)."""
    return answer.read(CreatedReply).id if answer.status == 201 else answer.read(_Exists).error.resource_id
