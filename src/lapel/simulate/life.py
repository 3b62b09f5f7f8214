"""The activities of devices and of their backend. Each violation of the contract becomes a journal entry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeAlias

from lapel.simulate.backend import Backend
from lapel.simulate.client.caller import Answer, Caller, CallFailed, SimulationError
from lapel.simulate.client.meter import Meter
from lapel.simulate.client.wire import Beat, CommandReply, ManifestReply, PageReply, Token
from lapel.simulate.device import updates
from lapel.simulate.device.device import NEVER, Activity, SimulatedDevice, after, dice_of, spell
from lapel.simulate.device.keyring import Keyring
from lapel.simulate.device.uploads import RecordingUploads, Uploader
from lapel.simulate.journal import (
    Acknowledged,
    Commanded,
    Commanding,
    Entry,
    Executed,
    Journal,
    Offered,
    Updated,
    UpdateFailed,
    Violation,
)
from lapel.simulate.plan import FleetPlan

_RETRY = 15.0  # seconds of simulated time until a device repeats a failed activity
_JITTER = 0.1  # share of the interval
_MOST_EVENTS = 16  # diagnostic events in one heartbeat
_COMMANDS = ("start_recording", "stop_recording", "trigger_upload")
_Doing: TypeAlias = Callable[[SimulatedDevice, float, Random], Awaitable[None]]


class Life:
    """The activities of all devices. A device does one thing at a time."""

    def __init__(
        self,
        caller: Caller,
        backend: Backend,
        plan: FleetPlan,
        meter: Meter,
        journal: Journal,
        uploads: RecordingUploads | None = None,
    ) -> None:
        """`uploads`: how devices upload; as plain audio by default."""
        self._caller = caller
        self._backend = backend
        self._plan = plan
        self._meter = meter
        self._journal = journal
        self._keyring = Keyring(caller)
        self._uploads = uploads or Uploader(caller, plan, meter, journal)
        self._doing: dict[Activity, _Doing] = {
            Activity.BEAT: self._beat,
            Activity.RECORD: self._record,
            Activity.UPLOAD: self._upload,
            Activity.COMMAND: self._command,
            Activity.REFRESH: self._refresh,
            Activity.REBIND: self._rebind,
            Activity.OFFER: self._offer,
            Activity.SPELL: self._spell,
        }

    async def step(self, device: SimulatedDevice, now: float) -> None:
        """Runs the device's next activity at `now` (seconds of simulated time) and schedules it again.

        Catches CallFailed and SimulationError: both are counted, and the activity is repeated later.
        """
        if device.is_offline:
            device.is_offline = False
            self._meter.counts["offline"] -= 1
        activity = device.next
        if not device.token:
            activity = Activity.REBIND
        elif device.is_refreshing:
            activity = Activity.REFRESH
        device.steps += 1
        try:
            await self._doing[activity](device, now, dice_of(self._plan, device, "step", device.steps))
        except SimulationError as fault:
            self._violation(device, "answer", str(fault))
            device.due[activity] = now + _RETRY
        except CallFailed as fault:
            device.due[activity] = now + _RETRY
            if fault.status == 401 and device.token:
                self._violation(device, "locked out", str(fault))
                device.pending.clear()
                device.is_refreshing = False
                device.due[Activity.REBIND] = now

    async def _beat(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        interval = self._plan.interval
        following = device.due[Activity.BEAT] + interval * dice.uniform(1 - _JITTER, 1 + _JITTER)
        await self._heartbeat(device, now, dice)
        device.due[Activity.BEAT] = following if following > now - interval else now

    async def _heartbeat(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        body = self._report_of(device, dice)
        answer = await self._send_heartbeat(device.token, body, (200,))
        beat = answer.read(Beat)
        device.beats += 1
        self._meter.counts["heartbeats"] += 1
        if beat.config_revision < device.revision:
            detail = f"{device.revision}, then {beat.config_revision}"
            self._violation(device, "configuration revision goes back", detail)
        device.revision = beat.config_revision
        self._hear_of_events(device, beat.accepted_event_ids)
        ended = self._ended_update(device)
        if beat.ota is not None and beat.ota.assignment_id == ended:
            self._violation(device, "update offered again", beat.ota.assignment_id)
        elif beat.ota is not None:
            await self._take(device, beat.ota, dice)
        for command in beat.commands:
            await self._obey(device, command, now, dice)

    def _report_of(self, device: SimulatedDevice, dice: Random) -> dict[str, object]:
        if device.is_charging:
            device.battery = min(100, device.battery + 5)
            device.is_charging = device.battery < 95
        else:
            device.battery = max(1, device.battery - dice.choice((0, 1, 1, 2)))
            device.is_charging = device.battery < 12
        used = 100 + 2 * len(device.pending)
        body: dict[str, object] = {
            "battery_percent": device.battery,
            "storage_used_mb": used,
            "storage_total_mb": 32_000,
            "signal_strength_dbm": -dice.randint(40, 100),
            "firmware_version": device.version,
            "device_state": "charging" if device.is_charging else "idle",
            "pending_recordings": len(device.pending),
            "flags": int(device.is_charging) | 2 * int(device.battery < 15) | 8,
            "connection_type": ["wifi"],
        }
        if dice.random() < 0.1:
            device.events += 1
            device.unaccepted.append(f"{device.index:08x}{device.events:08x}")
            self._meter.counts["diagnostics made"] += 1
        if device.unaccepted:
            events = [{"event_id": each, "kind": "simulated"} for each in device.unaccepted[:_MOST_EVENTS]]
            body["diagnostics"] = {"schema_version": 1, "events": events}
        if device.failure is not None:
            assignment_id, why = device.failure
            body["ota_result"] = {"assignment_id": assignment_id, "status": "failed", "error_message": why}
        return body

    def _hear_of_events(self, device: SimulatedDevice, accepted: list[str]) -> None:
        """Deletes exactly the events that the server has accepted."""
        sent = device.unaccepted[:_MOST_EVENTS]
        missing = set(sent) - set(accepted)
        if missing:
            self._violation(device, "diagnostics not accepted", ", ".join(sorted(missing)))
        self._meter.counts["diagnostics accepted"] += len(sent) - len(missing)
        device.unaccepted = [each for each in device.unaccepted if each not in accepted]

    def _ended_update(self, device: SimulatedDevice) -> str | None:
        """The assignment whose end the last answered heartbeat reported; None if that reported no end."""
        ended: str | None = None
        if device.update is not None:
            ended, device.update = device.update, None
            self._note(Updated(device.index, ended))
            self._meter.counts["updates applied"] += 1
        elif device.failure is not None:
            ended, device.failure = device.failure[0], None
            self._note(UpdateFailed(device.index, ended))
            self._meter.counts["updates failed"] += 1
        return ended

    async def _take(self, device: SimulatedDevice, offer: ManifestReply, dice: Random) -> None:
        if offer.model != self._plan.model:
            self._violation(device, "firmware for another model", offer.model)
            return
        wrong = await updates.take(self._caller, device, offer, dice)
        if wrong is not None:
            self._violation(device, "firmware is not as offered", wrong)

    async def _obey(self, device: SimulatedDevice, command: CommandReply, now: float, dice: Random) -> None:
        """Executes a command once, and sends its ack until the ack is answered."""
        ended = device.executed.get(command.id)
        if ended is None:
            fault = await self._keyring.fault_of(
                command.grant_token, device.id, device.serial_number, command.id
            )
            if fault is not None:
                self._violation(device, "grant does not verify", f"{command.id}: {fault}")
                return
            ended = self._execute(device, command, now, dice)
        result = {"result": {"step": device.steps}} if ended == "executed" else {"error": {"code": "busy"}}
        path = f"/devices/{device.id}/commands/{command.id}/ack"
        body = {"status": ended, **result}
        is_heard = False
        for _ in range(2 if dice.random() < 0.1 else 1):  # now and then a needless second time
            answer = await self._caller.api("ack", "POST", path, device.token, body, expected=(200, 409))
            is_heard = answer.status == 200  # 409: it has ended before
        if is_heard:
            self._note(Acknowledged(device.index, command.id, ended))
            self._meter.counts["commands acknowledged"] += 1
        device.executed.pop(command.id, None)

    def _execute(self, device: SimulatedDevice, command: CommandReply, now: float, dice: Random) -> str:
        self._note(Executed(device.index, command.id))
        self._meter.counts["commands executed"] += 1
        if command.type == "trigger_upload":
            if device.pending:
                device.due[Activity.UPLOAD] = now
        elif command.type == "start_recording":
            device.due[Activity.RECORD] = now + 10
        ended = "failed" if dice.random() < 0.05 else "executed"
        device.executed[command.id] = ended
        return ended

    async def _record(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        device.recordings += 1
        device.pending.append(self._uploads.record(device))
        device.due[Activity.RECORD] = after(dice, now, self._plan.rates.recordings)
        device.due[Activity.UPLOAD] = min(device.due[Activity.UPLOAD], now + dice.uniform(0, 20))
        self._meter.counts["recordings"] += 1

    async def _upload(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        device.due[Activity.UPLOAD] = now + dice.uniform(1, 30)
        while device.pending:
            if await self._uploads.advance(device, device.pending[0]):
                del device.pending[0]
            elif dice.random() < 0.05:
                return  # interrupted here, continued later
        device.due[Activity.UPLOAD] = NEVER

    async def _command(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        device.due[Activity.COMMAND] = after(dice, now, self._plan.rates.commands)
        key = f"{self._plan.run}-{device.index}-{device.steps}"
        self._note(Commanding(device.index, key))
        command_id = await self._backend.command(device, dice.choice(_COMMANDS), key)
        self._note(Commanded(device.index, key, command_id))
        self._meter.counts["commands sent"] += 1
        if dice.random() < 0.2:
            grant = await self._backend.wifi_grant(device)
            fault = await self._keyring.fault_of(grant, device.id, device.serial_number, None)
            if fault is not None:
                self._violation(device, "Wi-Fi grant does not verify", fault)
        if dice.random() < 0.3:  # some do not wait for their next heartbeat
            path = f"/devices/{device.id}/commands/pending"
            answer = await self._caller.api("pending", "GET", path, device.token)
            for command in answer.read(PageReply[CommandReply]).data:
                await self._obey(device, command, now, dice)

    async def _refresh(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        device.is_refreshing = True  # until there is an answer, the old token is used for nothing else
        old = device.token
        answer = await self._caller.api("refresh", "POST", "/devices/me/token/refresh", old)
        device.token, device.is_refreshing = answer.read(Token).device_token, False
        device.due[Activity.REFRESH] = after(dice, now, self._plan.rates.refreshes)
        self._meter.counts["tokens refreshed"] += 1
        await self._check_ended(device, old)

    async def _rebind(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        # Pending recordings belong to the present end user: upload them first, or stay with that end user.
        stays = self._uploads.outlives_binding and dice.random() < 0.5
        if device.pending and device.token and not stays:
            device.due[Activity.UPLOAD] = now
            device.due[Activity.REBIND] = now + _RETRY
            return
        # Forget the token before the call: without a final answer it may or may not have ended.
        old, device.token = device.token, ""
        await self._backend.unbind(device)
        device.executed.clear()
        if old:
            await self._check_ended(device, old)
        end_user = device.end_user if device.pending else dice.randrange(self._plan.people)
        await self._backend.bind(device, end_user)
        device.due[Activity.REBIND] = after(dice, now, self._plan.rates.rebindings)
        self._meter.counts["devices rebound"] += 1

    async def _offer(self, device: SimulatedDevice, _now: float, _dice: Random) -> None:
        device.due[Activity.OFFER] = NEVER
        assignment_id = await self._backend.offer(device)
        if assignment_id is not None:
            self._note(Offered(device.index, assignment_id))
            self._meter.counts["updates offered"] += 1

    async def _spell(self, device: SimulatedDevice, now: float, dice: Random) -> None:
        until = now + spell(dice)
        device.due = type(device.due)("d", (max(until, each) for each in device.due))
        device.due[Activity.BEAT] = until
        device.due[Activity.SPELL] = after(dice, until, self._plan.rates.spells)
        device.is_offline = True
        self._meter.counts["offline"] += 1
        self._meter.counts["spells"] += 1

    async def _check_ended(self, device: SimulatedDevice, token: str) -> None:
        answer = await self._send_heartbeat(token, {}, (200, 401))
        if answer.status == 200:
            self._violation(device, "ended token works", "a heartbeat was answered 200")

    async def _send_heartbeat(self, token: str, body: dict[str, object], expected: tuple[int, ...]) -> Answer:
        return await self._caller.api(
            "heartbeat", "POST", "/devices/me/heartbeat", token, body, expected=expected
        )

    def _violation(self, device: SimulatedDevice, kind: str, detail: str) -> None:
        self._note(Violation(device.index, kind, detail))
        self._meter.errors[kind] += 1

    def _note(self, entry: Entry) -> None:
        self._journal.write(entry)
