"""The tools: each one calls an operation of the API, with the operation's own arguments and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden
from lapel.slices.mcp.tool_schemas import ToolSchemas
from lapel.slices.mcp.tool_table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.http.operations import Operation
    from lapel.foundation.identity.token_kinds import TokenKind
    from lapel.slices.mcp.tool_table import ToolEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool, with its schemas. `finder`: the operation of `found_by`; `asking`: that of `asks`; `session`:
    that of the same name in its entry."""

    entry: ToolEntry
    operation: Operation
    finder: Operation | None
    asking: Operation | None
    session: Operation | None
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
        if self.asking is not None:  # the operation's own description is that of making a session
            return f"{self.asking.summary}. {self.entry.also}"
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
    asking = named[entry.asks] if entry.asks else None
    session = named[entry.session] if entry.session else None
    schemas = ToolSchemas(entry, operation, ids, finder, asking)
    return Tool(
        entry=entry, operation=operation, finder=finder, asking=asking, session=session, schemas=schemas
    )
