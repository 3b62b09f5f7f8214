"""The tools: each one calls an operation of the API, with the operation's own arguments and answer.

Contract: section 17. Developer tools are for keys, the others for end-user tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden
from lapel.foundation.http.authorization import KEYS
from lapel.slices.mcp.tool_schemas import ToolSchemas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.http.operations import Operation
    from lapel.foundation.identity.token_kinds import TokenKind

END_USERS: frozenset[ActorKind] = frozenset({"end_user"})


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A line of the table. `also` says more than the operation's own description.

    `reads`: it changes nothing; None means that its operation's method decides. `hidden`: arguments that the
    tool does not take. `found_by`: an argument that may stand in place of the id, and the operation that
    lists the one resource which has it. `leaves`: it sends something outside.
    """

    name: str
    operation: str
    callers: frozenset[ActorKind] = KEYS
    also: str = ""
    reads: bool | None = None
    hidden: frozenset[str] = frozenset()
    found_by: tuple[str, str] | None = None
    leaves: bool = False


_OWN = frozenset({"end_user_id"})
TABLE = (
    ToolEntry("list_end_users", "list_end_users"),
    ToolEntry(
        "get_end_user",
        "get_end_user",
        also="Give either `id` or `external_id`.",
        found_by=("external_id", "list_end_users"),
    ),
    ToolEntry("list_devices", "list_devices"),
    ToolEntry("get_device", "get_device"),
    ToolEntry("get_fleet_stats", "get_device_stats"),
    ToolEntry("list_recordings", "list_recordings"),
    ToolEntry("get_recording", "get_recording"),
    ToolEntry("create_transcription", "create_transcription"),
    ToolEntry("list_webhooks", "list_webhooks"),
    ToolEntry("trigger_webhook_event", "test_webhook", also="`id` is the webhook's id.", leaves=True),
    ToolEntry("list_my_recordings", "list_recordings", END_USERS, hidden=_OWN),
    ToolEntry("get_my_recording", "get_recording", END_USERS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool, with its schemas. `finder`: the operation of `found_by`."""

    entry: ToolEntry
    operation: Operation
    finder: Operation | None
    schemas: ToolSchemas

    @property
    def name(self) -> str:
        """As the contract names it."""
        return self.entry.name

    @property
    def title(self) -> str:
        """For people."""
        return self.name.replace("_", " ").capitalize()

    @property
    def description(self) -> str:
        """What the operation does, for a model."""
        sentences = (f"{self.operation.summary}.", self.operation.description, self.entry.also)
        return " ".join(filter(None, sentences))

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.operation.method == "GET" if self.entry.reads is None else self.entry.reads

    def admit(self, actor: Actor, kinds: Mapping[ActorKind, TokenKind]) -> None:
        """Check that this caller may use the tool. Raises Forbidden, and what `Access.admit` raises."""
        if actor.kind not in self.entry.callers:
            takes = " or ".join(kinds[each].holder for each in kinds if each in self.entry.callers)
            raise Forbidden(f"The tool `{self.name}` takes {takes}, not {kinds[actor.kind].holder}.")
        self.operation.access.admit(actor, kinds, inside=True)


class Toolbox:
    """All tools, by their names."""

    def __init__(
        self, operations: Sequence[Operation], kinds: Sequence[TokenKind], ids: Mapping[str, str]
    ) -> None:
        """`ids`: the prefix of the ids in each parameter of a path."""
        self._kinds = {each.name: each for each in kinds}
        named = {each.name: each for each in operations}
        self._tools = {entry.name: _tool(entry, named, ids) for entry in TABLE}

    def __getitem__(self, name: str) -> Tool:
        """A tool. Raises KeyError when there is none of this name."""
        return self._tools[name]

    def __iter__(self) -> Iterator[Tool]:
        """All tools, in the order of the contract."""
        return iter(self._tools.values())

    def of(self, actor: Actor) -> list[Tool]:
        """The tools that a caller may use, in the order of the contract."""
        return [each for each in self._tools.values() if self._admits(each, actor)]

    def check(self, tool: Tool, actor: Actor) -> None:
        """Raises what `Tool.admit` raises."""
        tool.admit(actor, self._kinds)

    def _admits(self, tool: Tool, actor: Actor) -> bool:
        try:
            tool.admit(actor, self._kinds)
        except Forbidden:
            return False
        return True


def _tool(entry: ToolEntry, named: Mapping[str, Operation], ids: Mapping[str, str]) -> Tool:
    operation = named[entry.operation]
    finder = None if entry.found_by is None else named[entry.found_by[1]]
    schemas = ToolSchemas(operation, ids, entry.hidden, entry.found_by and entry.found_by[0], finder)
    return Tool(entry=entry, operation=operation, finder=finder, schemas=schemas)
