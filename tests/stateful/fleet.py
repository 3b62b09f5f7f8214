"""What devices and their commands should look like: part of the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.stateful.answers import CONFLICT, OK, REUSED, Answer
from tests.support.merge_patch import merge_patch, set_of

State = Literal["current", "refreshing", "fresh"]


@dataclass(slots=True)
class Command:
    """One command, of one binding. `said`: what the device reported."""

    kind: str
    end_user: str
    generation: int
    key: str | None
    status: Literal["pending", "delivered", "executed", "failed", "cancelled"] = "pending"
    said: tuple[str, dict[str, Any] | None] | None = None
    # Executed as a heartbeat showed; the device may still say so itself.
    inferred: bool = False

    @property
    def open(self) -> bool:
        """Whether the device has still to do it."""
        return self.status in ("pending", "delivered")

    def cancel(self) -> Answer:
        """Only what the device has not heard of can be taken back."""
        if self.status != "pending":
            return CONFLICT
        self.status = "cancelled"
        return OK

    def hear(self, said: dict[str, Any]) -> None:
        """What a heartbeat shows of a command that was delivered before it."""
        state = said.get("device_state")
        done = {
            "start_recording": state == "recording",
            "stop_recording": state not in (None, "recording"),
            "trigger_upload": state == "uploading" or said.get("pending_recordings") == 0,
        }
        if self.status == "delivered" and done.get(self.kind, False):
            self.status, self.inferred = "executed", True

    def report(self, status: Literal["executed", "failed"], result: dict[str, Any] | None) -> Answer:
        """The first report in its binding settles it; the same again is answered alike."""
        if self.open:
            self.status, self.said = status, (status, result)
        elif self.inferred and status == "executed":
            if result is not None:
                self.inferred, self.said = False, (status, result)
            return OK
        return OK if self.said == (status, result) else CONFLICT


@dataclass(slots=True)
class Device:
    """One device. `tokens`: those that are not dead; `held`: the one that the device has stored. `is_new`:
    its wearer has no report yet."""

    serial: str
    end_user: str | None = None
    # Who wears it, if it got its name since then.
    named_for: str | None = None
    generation: int = 0
    is_new: bool = False
    tokens: dict[str, State] = field(default_factory=dict[str, State])
    held: str = ""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    synced: bool = False
    told: dict[str, Any] = field(default_factory=dict[str, Any])
    low_battery: bool = False
    records: bool = False
    commands: dict[str, Command] = field(default_factory=dict[str, Command])

    def use(self, token: str, *, to_refresh: bool = False) -> bool:
        """Whether the token works; the first use of a fresh one ends all others."""
        state = self.tokens.get(token)
        if state == "fresh":
            self.tokens = {token: "current"}
        return state is not None and (state != "refreshing" or to_refresh)

    def refreshed(self, token: str, new: str, *, lost: bool) -> None:
        """`token` asked for a new one; whether the answer came is the device's affair."""
        self.tokens = {token: "refreshing", new: "fresh"}
        if not lost:
            self.held = new

    def bind(self, end_user: str, token: str) -> list[str]:
        """A new binding with its own token; the tokens that end."""
        ended = list(self.tokens)
        self.end_user, self.tokens, self.held = end_user, {token: "current"}, token
        self.generation += 1
        self.is_new = True
        return ended

    def unbind(self) -> list[str]:
        """The binding ends with its tokens and what was still to do; the tokens that end."""
        ended = list(self.tokens)
        self.end_user, self.tokens, self.held, self.records = None, {}, "", False
        if self.named_for is not None:
            self.facts["name"], self.named_for = None, None
        for command in self.commands.values():
            if command.open:
                command.status = "cancelled"
        return ended

    def change(self, body: dict[str, Any]) -> None:
        """PATCH."""
        self.facts |= {name: value for name, value in body.items() if name != "settings"}
        if "name" in body:
            self.named_for = self.end_user
        if "settings" in body:
            settings = body["settings"]
            self.settings = {} if settings is None else set_of(merge_patch(self.settings, settings))

    def hear(self, body: dict[str, Any]) -> bool:
        """A heartbeat; whether an episode of low battery begins with it. The first one of a wearer ends what
        the device reported before."""
        if self.is_new and self.end_user is not None:
            self.is_new, self.told, self.low_battery, self.records = False, {}, False, False
        said = {name: value for name, value in body.items() if value is not None}
        if body.get("device_name") not in (None, self.facts.get("name") or ""):
            self.named_for = self.end_user
        for theirs, ours in (("device_name", "name"), ("firmware_version", "firmware_version")):
            if theirs in said:
                self.facts[ours] = said[theirs]
        for name in ("battery_percent", "storage_used_mb", "device_state"):
            if name in said:
                self.told[name] = said[name]
        for command in self.commands.values():
            command.hear(said)
        if "device_state" in said:
            self.records = said["device_state"] == "recording"
        if said.get("battery_percent", 0) >= 20:
            self.low_battery = False
        begins = not self.low_battery and self.told.get("battery_percent", 100) < 15
        self.low_battery |= begins
        return begins

    def command(self, kind: str, key: str | None) -> tuple[Answer, str | None]:
        """What giving it this command answers, and which of before it is."""
        known = ((one, each) for one, each in self.commands.items() if key is not None and each.key == key)
        for one, each in known:
            return (OK, one) if each.kind == kind else (REUSED, None)
        return (CONFLICT, None) if self.end_user is None else (Answer(201), None)

    def forget(self, end_user: str) -> None:
        """What the end user's device was told is gone with the end user."""
        self.commands = {one: each for one, each in self.commands.items() if each.end_user != end_user}

    def deliver(self) -> list[str]:
        """Everything still to do, oldest first, delivered."""
        still = [one for one, each in self.commands.items() if each.open]
        for one in still:
            self.commands[one].status = "delivered"
        return still
