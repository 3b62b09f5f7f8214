"""The oracle: at the end, compares the server's answers with its promises to the devices."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

import msgspec

from lapel.simulate.backend import Backend
from lapel.simulate.client.caller import Answer, CallFailed, SimulationError
from lapel.simulate.client.wire import (
    AssignmentReply,
    CommandReply,
    DownloadReply,
    PageReply,
    RecordingReply,
    ShownDevice,
)
from lapel.simulate.device.device import SimulatedDevice
from lapel.simulate.journal import (
    Acknowledged,
    Announcing,
    Commanded,
    Commanding,
    Entry,
    Executed,
    Offered,
    Promised,
    Updated,
    UpdateFailed,
    Violation,
)

T = TypeVar("T")
MOST_FINDINGS = 200


class OracleFinding(msgspec.Struct, frozen=True, order=True):
    """One broken promise: its kind, the device, and the details."""

    kind: str
    serial_number: str
    detail: str


class OracleVerdict(msgspec.Struct, kw_only=True):
    """Result of the comparison. `broken`: broken promises by kind. `findings`: the first MOST_FINDINGS."""

    promised: int = 0
    kept: int = 0
    lost: int = 0
    duplicated: int = 0
    commands_twice: int = 0
    broken: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    findings: list[OracleFinding] = msgspec.field(default_factory=list[OracleFinding])


class _Told:
    """The entries of one device's journal, by kind."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.announced: set[str] = set()
        self.promised: dict[str, Promised] = {}
        self.commanding: set[str] = set()
        self.commanded: dict[str, str] = {}
        self.executed: Counter[str] = Counter()
        self.acknowledged: dict[str, str] = {}
        self.offered: set[str] = set()
        self.ended: dict[str, str] = {}
        self.violations: list[Violation] = []
        for entry in entries:
            self._sort(entry)

    def _sort(self, entry: Entry) -> None:
        match entry:
            case Announcing():
                self.announced.add(entry.uuid)
            case Promised():
                self.promised[entry.uuid] = entry
            case Commanding():
                self.commanding.add(entry.key)
            case Commanded():
                self.commanded[entry.key] = entry.command_id
            case Executed():
                self.executed[entry.command_id] += 1
            case Acknowledged():
                self.acknowledged[entry.command_id] = entry.status
            case Offered():
                self.offered.add(entry.assignment_id)
            case Updated():
                self.ended[entry.assignment_id] = "applied"
            case UpdateFailed():
                self.ended[entry.assignment_id] = "failed"
            case Violation():
                self.violations.append(entry)


class Oracle:
    """Checks devices one by one. Several tasks may call `judge`; `verdict` sums up all of their calls.

    It reads from the server with the backend's key.
    """

    def __init__(self, backend: Backend) -> None:
        self.verdict = OracleVerdict()
        self._backend = backend

    async def judge(self, device: SimulatedDevice, entries: Iterable[Entry]) -> None:
        """Checks every promise to one device. CallFailed and SimulationError become findings."""
        told = _Told(entries)
        for violation in told.violations:
            self._find(violation.kind, device, violation.detail)
        try:
            await self._state(device)
            if told.announced:
                await self._recordings(device, told)
            if told.commanding:
                await self._commands(device, told)
            if told.offered or told.ended:
                await self._updates(device, told)
        except (CallFailed, SimulationError) as fault:
            self._find("not answered", device, str(fault))

    async def _state(self, device: SimulatedDevice) -> None:
        answer = await self._ask("GET", f"/devices/{device.id}")
        row = answer.read(ShownDevice)
        if device.token:
            expected = (
                "bound",
                self._backend.end_user_id(device.end_user),
                device.generation,
            )
            found = (row.status, row.end_user_id, row.binding_generation)
            if found != expected:
                self._find("binding", device, f"{found} instead of {expected}")
        if device.beats and row.last_heartbeat_at is None:
            self._find("heartbeats lost", device, f"{device.beats} were answered")

    async def _recordings(self, device: SimulatedDevice, told: _Told) -> None:
        """Each promised recording must be listed once, match its promise, and be downloadable."""
        listed: defaultdict[str, list[RecordingReply]] = defaultdict(list)
        async for row in self._walk(f"/recordings?device_id={device.id}", PageReply[RecordingReply]):
            listed[row.recording_uuid or str(row.metadata.get("started_at", row.id))].append(row)
        for uuid, rows in listed.items():
            if len(rows) > 1 or len(rows[0].media) > 1:
                self.verdict.duplicated += 1
                self._find("duplicated", device, f"recording {uuid}: {rows}")
            if uuid not in told.announced:
                self._find("nobody's recording", device, uuid)
        self.verdict.promised += len(told.promised)
        for uuid, promise in told.promised.items():
            why = await self._missing(promise, listed.get(uuid, []))
            if why is None:
                self.verdict.kept += 1
            else:
                self.verdict.lost += 1
                self._find("lost", device, f"recording {promise.recording_id}: {why}")

    async def _missing(self, promise: Promised, rows: list[RecordingReply]) -> str | None:
        row = next((each for each in rows if each.id == promise.recording_id), None)
        if row is None:
            return "is not listed"
        media = next((each for each in row.media if promise.media_id in (None, each.id)), None)
        if media is None:
            return f"has no media {promise.media_id or ''}"
        found = (row.status, media.status, media.sha256, media.file_size_bytes)
        if found != ("uploaded", "uploaded", promise.sha256, promise.size):
            return f"{found}, promised {promise.sha256}, {promise.size} bytes"
        try:
            path = f"/recordings/{row.id}/download-url"
            link = (await self._ask("POST", path, {"media_id": media.id})).read(DownloadReply)
            content = await self._backend.caller.get("download", link.download_url)
        except CallFailed as fault:
            return str(fault)
        if hashlib.sha256(content).hexdigest() != promise.sha256:
            return "the bytes are others than were promised"
        return None

    async def _commands(self, device: SimulatedDevice, told: _Told) -> None:
        listed: Counter[str] = Counter()
        status: dict[str, str] = {}
        async for row in self._walk(f"/devices/{device.id}/commands", PageReply[CommandReply]):
            listed[row.id] += 1
            status[row.id] = row.status
        unheard = len(told.commanding) - len(told.commanded)
        if len(set(told.commanded.values())) != len(told.commanded):
            self._find("one command for two", device, f"{told.commanded}")
        surplus = len(listed) - len(told.commanded)
        if listed.total() != len(listed) or surplus > unheard:
            self._find("commands duplicated", device, f"{len(listed)}, sent {len(told.commanding)}")
        for command_id in told.commanded.values():
            if command_id not in listed:
                self._find("command lost", device, command_id)
        for command_id, times in told.executed.items():
            if times > 1:
                self.verdict.commands_twice += 1
                self._find("command executed twice", device, command_id)
        for command_id, ended in told.acknowledged.items():
            if status.get(command_id) != ended:
                detail = f"{command_id} is {status.get(command_id)}, reported {ended}"
                self._find("acknowledgement lost", device, detail)

    async def _updates(self, device: SimulatedDevice, told: _Told) -> None:
        answer = await self._ask("GET", f"/devices/{device.id}/ota/history?limit=100")
        rows = answer.read(PageReply[AssignmentReply]).data
        listed = Counter(row.id for row in rows)
        if len(listed) > 1:  # a device is offered one update, even if the call is repeated
            self._find("updates duplicated", device, f"{len(listed)} are listed")
        for assignment_id in told.offered:
            if listed[assignment_id] != 1:
                self._find("update lost", device, f"{assignment_id} is listed {listed[assignment_id]} times")
        for row in rows:
            expected = told.ended.get(row.id)
            if expected is not None and row.status != expected:
                self._find("update", device, f"{row.id} is {row.status}, reported {expected}")

    async def _walk(self, path: str, kind: type[PageReply[T]]) -> AsyncIterator[T]:
        cursor: str | None = None
        joint = "&" if "?" in path else "?"
        while True:
            rest = f"{joint}limit=100" + (f"&cursor={cursor}" if cursor else "")
            page = (await self._ask("GET", path + rest)).read(kind)
            for row in page.data:
                yield row
            cursor = page.next_cursor
            if not page.has_more or cursor is None:
                return

    async def _ask(self, method: str, path: str, body: dict[str, object] | None = None) -> Answer:
        return await self._backend.caller.api("read back", method, path, self._backend.key, body)

    def _find(self, kind: str, device: SimulatedDevice, detail: str) -> None:
        self.verdict.broken[kind] = self.verdict.broken.get(kind, 0) + 1
        if len(self.verdict.findings) < MOST_FINDINGS:
            self.verdict.findings.append(OracleFinding(kind, device.serial_number, detail))
