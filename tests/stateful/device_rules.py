"""What is done with devices, and what devices do."""

from __future__ import annotations

from typing import Any, Literal

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.stateful.answers import BOUND, NOT_FOUND, OK, UNAUTHORIZED, Answer
from tests.stateful.caller import answered
from tests.stateful.fleet import Command, Device
from tests.stateful.walk import Walk, picks

serials = st.sampled_from(["PIN4G0001", "PIN4G0002"])
switches = st.sampled_from([None, {}, {"wifi": True}, {"wifi": None}, {"cellular": False}])
settings = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "connection": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "enabled_connections": switches,
                "upload_network_preference": st.sampled_from([None, ["ble"], ["wifi", "cellular"]]),
            },
        ),
        "audio": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "codec": st.sampled_from([None, "opus", "wav"]),
                "bitrate": st.sampled_from([None, 8, 320]),
            },
        ),
    },
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([None, "", "  Desk  ", "🎙" * 64]),
        "firmware_version": st.sampled_from([None, "1.4.2"]),
        "metadata": st.sampled_from([None, {}, {"a": {"b": 1}}]),
        "settings": settings,
    },
)
kinds = st.sampled_from(["start_recording", "stop_recording", "trigger_upload", "factory_reset"])
results = st.sampled_from([None, {}, {"recording_id": "rec_1"}])
heartbeats = st.fixed_dictionaries(
    {},
    optional={
        "battery_percent": st.sampled_from([None, 0, 14, 15, 19, 20, 100]),
        "storage_used_mb": st.integers(0, 3),
        "device_state": st.sampled_from([None, "idle", "recording", "uploading"]),
        "pending_recordings": st.sampled_from([None, 0, 1]),
        "device_name": st.sampled_from([None, "", "Worn"]),
        "firmware_version": st.sampled_from([None, "1.4.2", "1.5.0"]),
        "diagnostics": st.fixed_dictionaries(
            {"events": st.lists(st.sampled_from([{"event_id": f"{n:016x}"} for n in range(3)]), max_size=3)}
        ),
    },
)
some_devices = precondition(lambda self: self.world.devices)
some_bound = precondition(lambda self: any(each.held for each in self.world.devices.values()))
some_commands = precondition(lambda self: any(each.commands for each in self.world.devices.values()))


class DeviceRules(Walk):
    """Registering, changing, binding, commanding and deleting devices, and their tokens."""

    at_device: str | None = None

    def device(self, number: int) -> tuple[str, Device]:
        """One of the devices."""
        self.at_device = self.pick(self.world.devices, number)
        assert self.at_device is not None
        return self.at_device, self.world.devices[self.at_device]

    def caller(self, number: int) -> tuple[str, Device, str]:
        """One of the bound devices, and the token that it has stored."""
        bound = [one for one, each in self.world.devices.items() if each.held]
        self.at_device = self.pick(bound, number)
        assert self.at_device is not None
        device = self.world.devices[self.at_device]
        return self.at_device, device, device.held

    def used(self, device: Device, token: str, *, to_refresh: bool = False) -> bool:
        """Whether the token works, and what ends with its first use."""
        before = set(device.tokens)
        works = device.use(token, to_refresh=to_refresh)
        self.world.dead_tokens += sorted(before - device.tokens.keys())
        return works

    # ---- the registry -------------------------------------------------------------------------

    @rule(serial=serials)
    def register_device(self, serial: str) -> None:
        body, key = {"serial_number": serial, "model": "bota_pin"}, self.fresh()
        answer = self.call("POST", "/devices", self.token, body, key=key)
        known = next((one for one, each in self.world.devices.items() if each.serial == serial), None)
        assert answer.status_code == (201 if known is None else 200), answer.text
        assert known in (None, answer.json()["id"])
        self.at_device = answer.json()["id"]
        self.world.devices.setdefault(answer.json()["id"], Device(serial))
        if known is None:
            assert answer.json()["id"] not in self.world.deleted_devices
            self.stored.append(("/devices", body, key, answer.json()["id"]))

    @some_devices
    @rule(number=picks, body=changes)
    def change_device(self, number: int, body: dict[str, Any]) -> None:
        device_id, device = self.device(number)
        answer = self.call("PATCH", f"/devices/{device_id}", self.token, body)
        assert answered(answer) == OK, answer.text
        device.change(body)

    @some_devices
    @rule(number=picks, settings=settings, reset=st.booleans())
    def change_settings(self, number: int, settings: dict[str, Any] | None, reset: bool) -> None:
        device_id, device = self.device(number)
        method = "PUT" if reset else "PATCH"
        answer = self.call(method, f"/devices/{device_id}/settings", self.token, {"settings": settings})
        assert answered(answer) == OK, answer.text
        if reset:
            device.settings = {}
        device.change({"settings": settings})

    @precondition(lambda self: len(self.world.devices) > 1)
    @rule(number=picks)
    def delete_device(self, number: int) -> None:
        device_id, device = self.device(number)
        answer = self.call("DELETE", f"/devices/{device_id}", self.token)
        assert answered(answer) == (Answer(204) if device.end_user is None else BOUND), answer.text
        if answer.status_code == 204:
            self.world.delete_device(device_id)

    @rule(serial=serials, other=picks)
    def begin_to_wear(self, serial: str, other: int) -> None:
        """From the box to its bearer, so that devices do not lie about unbound for most of a walk."""
        self.register_device(serial)
        self.bind(list(self.world.devices).index(self.at_device or ""), other)

    @some_devices
    @rule(number=picks, other=picks)
    def bind(self, number: int, other: int) -> None:
        device_id, device = self.device(number)
        end_user_id = self.pick(self.world.end_users, other)
        answer = self.call("POST", f"/devices/{device_id}/bind", self.token, {"end_user_id": end_user_id})
        if device.end_user is not None:
            assert answered(answer) == BOUND
            return
        assert answer.status_code == 200, answer.text
        self.world.bind(device_id, end_user_id, answer.json()["device_token"])

    @some_devices
    @rule(number=picks)
    def unbind(self, number: int) -> None:
        device_id, _ = self.device(number)
        assert self.call("POST", f"/devices/{device_id}/unbind", self.token).status_code == 200
        self.world.unbind(device_id)

    # ---- tokens -------------------------------------------------------------------------------

    @some_bound
    @rule(number=picks, own=st.booleans(), lost=st.booleans())
    def refresh(self, number: int, own: bool, lost: bool) -> None:
        """The token that a device has stored always refreshes, however many answers were lost."""
        device_id, device, token = self.caller(number)
        before = set(device.tokens)
        assert self.used(device, token, to_refresh=True)
        answer = self.call("POST", f"/devices/{device_id if own else 'me'}/token/refresh", token)
        assert answer.status_code == 200, answer.text
        device.refreshed(token, answer.json()["device_token"], lost=lost)
        self.world.dead_tokens += sorted(before - device.tokens.keys())

    @precondition(
        lambda self: any("refreshing" in each.tokens.values() for each in self.world.devices.values())
    )
    @rule(number=picks)
    def use_a_replaced_token(self, number: int) -> None:
        replaced = [
            (one, token)
            for one, each in self.world.devices.items()
            for token, state in each.tokens.items()
            if state == "refreshing"
        ]
        device_id, token = self.pick(replaced, number)
        for method, path in (
            ("GET", "/devices/me/commands/pending"),
            ("POST", f"/devices/{device_id}/commands/cmd_1/ack"),
            ("POST", "/recordings"),
            ("GET", "/recordings"),
        ):
            body = {"status": "executed"} if path.endswith("ack") else None
            assert answered(self.call(method, path, token, body)) == UNAUTHORIZED, path

    # ---- commands -----------------------------------------------------------------------------

    @some_devices
    @rule(number=picks, kind=kinds, key=st.sampled_from([None, None, "one", "two"]))
    def give_command(self, number: int, kind: str, key: str | None) -> None:
        device_id, device = self.device(number)
        body = {"type": kind, "idempotency_key": key}
        answer = self.call("POST", f"/devices/{device_id}/commands", self.token, body)
        expected, known = device.command(kind, key)
        assert answered(answer) == expected, answer.text
        if known is not None:
            assert answer.json()["id"] == known
        if expected.status == 201:
            assert device.end_user is not None
            command = Command(kind, device.end_user, device.generation, key)
            device.commands[answer.json()["id"]] = command

    def command(self, number: int) -> tuple[str, Device, str, Command]:
        """One of the commands, with its device."""
        every = [(one, each) for one, device in self.world.devices.items() for each in device.commands]
        self.at_device, command_id = self.pick(every, number)
        assert self.at_device is not None
        device = self.world.devices[self.at_device]
        return self.at_device, device, command_id, device.commands[command_id]

    @some_commands
    @rule(number=picks)
    def cancel_command(self, number: int) -> None:
        device_id, _, command_id, command = self.command(number)
        answer = self.call("DELETE", f"/devices/{device_id}/commands/{command_id}", self.token)
        assert answered(answer) == command.cancel(), answer.text

    @some_bound
    @rule(number=picks, times=st.integers(1, 2))
    def fetch_commands(self, number: int, times: int) -> None:
        _, device, token = self.caller(number)
        for _ in range(times):
            answer = self.call("GET", "/devices/me/commands/pending", token)
            if not self.used(device, token):
                assert answered(answer) == UNAUTHORIZED
                continue
            assert answered(answer) == OK, answer.text
            assert [each["id"] for each in answer.json()["data"]] == device.deliver()

    @some_bound
    @rule(number=picks, body=heartbeats, own=st.booleans(), times=st.integers(1, 2))
    def beat(self, number: int, body: dict[str, Any], own: bool, times: int) -> None:
        """Also twice, as after a lost answer."""
        device_id, device, token = self.caller(number)
        for _ in range(times):
            answer = self.call("POST", f"/devices/{device_id if own else 'me'}/heartbeat", token, body)
            if not self.used(device, token):
                assert answered(answer) == UNAUTHORIZED
                continue
            self.heard(device_id, device, body, answer)

    @some_devices
    @rule(number=picks, body=heartbeats)
    def beat_by_key(self, number: int, body: dict[str, Any]) -> None:
        """An app reports for its device, bound or not."""
        device_id, device = self.device(number)
        answer = self.call("POST", f"/devices/{device_id}/heartbeat", self.token, body)
        self.heard(device_id, device, body, answer)

    def heard(self, device_id: str, device: Device, body: dict[str, Any], answer: httpx.Response) -> None:
        """What every heartbeat answers, and does."""
        assert answered(answer) == OK, answer.text
        got = answer.json()
        if device.hear(body):
            self.world.tell("device.low_battery", device_id, device.end_user)
        assert [each["id"] for each in got["commands"]] == device.deliver()
        assert {each["status"] for each in got["commands"]} <= {"delivered"}
        sent = {each["event_id"] for each in body.get("diagnostics", {"events": []})["events"]}
        assert sorted(got["accepted_event_ids"]) == sorted(sent)

    @precondition(lambda self: any(each.held and each.commands for each in self.world.devices.values()))
    @rule(
        number=picks, status=st.sampled_from(["executed", "failed"]), result=results, times=st.integers(1, 2)
    )
    def report(
        self,
        number: int,
        status: Literal["executed", "failed"],
        result: dict[str, Any] | None,
        times: int,
    ) -> None:
        """Also twice, also of commands of bindings before, and of those of other devices."""
        callers = [one for one, each in self.world.devices.items() if each.held]
        device_id = self.pick(callers, number)
        device = self.world.devices[device_id]
        of, _, command_id, command = self.command(number)
        self.at_device, token = of, device.held
        for _ in range(times):
            self.report_by(device_id, token, command_id, command, (status, result))

    def report_by(
        self,
        device_id: str,
        token: str,
        command_id: str,
        command: Command,
        said: tuple[Literal["executed", "failed"], dict[str, Any] | None],
    ) -> None:
        """One report; a factory reset that was carried out unbinds the device."""
        device, body = self.world.devices[device_id], {"status": said[0], "result": said[1]}
        answer = self.call("POST", f"/devices/me/commands/{command_id}/ack", token, body)
        if not self.used(device, token):
            assert answered(answer) == UNAUTHORIZED
            return
        own = device.commands.get(command_id) is command and command.generation == device.generation
        was_open = command.open
        expected = command.report(*said) if own else NOT_FOUND
        assert answered(answer) == expected, answer.text
        if own and was_open and (command.kind, command.status) == ("factory_reset", "executed"):
            self.world.unbind(device_id)

    @some_bound
    @rule(number=picks, kind=kinds, status=st.sampled_from(["executed", "failed"]), polls=st.booleans())
    def obey(self, number: int, kind: str, status: Literal["executed", "failed"], polls: bool) -> None:
        """A command from its giving to its report."""
        device_id, device, token = self.caller(number)
        self.give_command(list(self.world.devices).index(device_id), kind, None)
        if polls:
            self.fetch_commands(number, 1)
        else:
            self.beat(number, {"device_state": "idle"}, True, 1)
        command_id, command = list(device.commands.items())[-1]
        self.report_by(device_id, token, command_id, command, (status, {}))

    def end_of_devices(self) -> None:
        """What must be true when a walk ends: no device that is bound was ever locked out."""
        for device_id, device in self.world.devices.items():
            self.checks.device(device_id)
            self.checks.no_outsider_sees(device_id)
            if device.held:
                answer = self.call("POST", "/devices/me/token/refresh", device.held)
                assert answer.status_code == 200, answer.text
        for device_id in self.world.deleted_devices:
            self.checks.no_device(device_id)
