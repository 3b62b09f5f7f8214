"""The JSON Schemas of a tool, made from the structs of its operation.

The parameters of path, query and body stand side by side. The only parameter of a path is called `id`, as in
the contract's paths. No rule across arguments stands in the schema of the arguments, because some models take
no `anyOf` there; the operation checks such rules.

Source: JSON Schema 2020-12; "Tools", Model Context Protocol, revision 2025-11-25.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.calls import NoBody, NoQuery
from lapel.foundation.http.input.suggestions import suggestion
from lapel.foundation.openapi.schemas import Schema, Schemas

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    import msgspec

    from lapel.foundation.http.operations import Operation
    from lapel.slices.mcp.tool_table import ToolEntry

# The characters of an unknown name that an answer shows.
_SHOWN = 64
ID = "id"
# Of tools that ask: the argument that continues a session, the question, and the field of a first question.
SESSION, QUESTION, FIRST = "session_id", "content", "initial_message"
_COMPONENT = "#/components/schemas/"
_DEFINITION = "#/$defs/"


class ToolSchemas:
    """The schemas of one tool's arguments and answer, and the form of its id."""

    def __init__(
        self,
        entry: ToolEntry,
        operation: Operation,
        ids: Mapping[str, str],
        finder: Operation | None,
        asking: Operation | None,
    ) -> None:
        """`finder`, `asking`: see Tool. `ids`: the prefix of the ids in each parameter of a path."""
        structs = [each for each in (operation.query, operation.body) if each not in (NoQuery, NoBody)]
        other = [each for each in (finder and finder.query, asking and asking.body) if each is not None]
        schemas = Schemas([*structs, *other], ())
        self.id_pattern: re.Pattern[str] | None = None
        self._properties: dict[str, Schema] = {}
        self._required: list[str] = []
        identified = asking or operation
        if identified.parameters:
            self._add_id(identified, ids, SESSION if asking else ID, needed=finder is None and asking is None)
        if asking is not None:
            self._add(schemas, asking.body, entry.hidden, needed=True)
        hidden = entry.hidden if asking is None else {*entry.hidden, FIRST}
        for struct in structs:
            self._add(schemas, struct, hidden, needed=asking is None)
        if finder is not None and entry.found_by is not None:
            others = {name for name, *_ in schemas.properties(finder.query)} - {entry.found_by[0]}
            self._add(schemas, finder.query, others, needed=False)
        arguments: Schema = {"type": "object", "properties": self._properties}
        if self._required:
            arguments["required"] = self._required
        self.arguments = _whole(arguments, schemas.components)
        for each in (self.arguments, *self.arguments.get("$defs", {}).values()):
            if "properties" in each:
                each["additionalProperties"] = False
        # The names of the API's document and of the route's own form of a question are taken, too.
        others = {*identified.parameters, *((FIRST,) if asking is not None else ())}
        self._taken = frozenset(self._properties) | others
        self.answer = _answer(asking or operation)

    def refuse_unknown(self, names: Iterable[str]) -> None:
        """Raises InvalidRequest for the name of an argument that the tool does not take."""
        for name in names:
            if name not in self._taken:
                shown = name[:_SHOWN]
                meant = suggestion(name, self._properties)
                raise InvalidRequest(
                    f"The tool has no argument `{shown}`.{meant}", param=shown or None, reason="unknown"
                )

    def _add_id(self, operation: Operation, ids: Mapping[str, str], name: str, *, needed: bool) -> None:
        (parameter,) = operation.parameters
        pattern = f"{ids[parameter]}_[A-Za-z0-9]{{1,64}}"
        self.id_pattern = re.compile(rf"{pattern}\Z")
        noun = parameter.removesuffix("_id").replace("_", " ")
        described: Schema = {
            "type": "string",
            "pattern": f"^{pattern}$",
            "description": f"The id of the {noun}.",
        }
        self._properties[name] = described
        self._required += [name] if needed else []

    def _add(
        self, schemas: Schemas, struct: type[msgspec.Struct], hidden: Container[str], *, needed: bool
    ) -> None:
        """Add the fields of a struct. `needed`: a field that the struct requires is required here, too."""
        for name, schema, required in schemas.properties(struct):
            if name not in hidden:
                self._properties[name] = schema
                self._required += [name] if required and needed else []


def _answer(operation: Operation) -> Schema:
    """The schema of the operation's answer. Raises TypeError when the operation does not answer JSON."""
    response = operation.response
    if response is None:
        raise TypeError(f"{operation.name} answers no struct, so no tool can call it")
    schemas = Schemas((), [response])
    name = str(schemas.reference(response)["$ref"]).removeprefix(_COMPONENT)
    return _whole(schemas.components[name], schemas.components)


def _whole(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """The schema with the definitions that it refers to, directly or not."""
    made: Schema = _moved(schema)
    used: dict[str, Schema] = {}
    waiting = list(_references(made))
    while waiting:
        name = waiting.pop()
        if name not in used:
            used[name] = _moved(components[name])
            waiting += _references(used[name])
    if used:
        made["$defs"] = dict(sorted(used.items()))
    return made


def _moved(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value with references into `$defs`, without examples (a client's model reads each of them) and
    without what only OpenAPI knows."""
    if isinstance(value, dict):
        return {
            name: each.replace(_COMPONENT, _DEFINITION)
            if name == "$ref" and isinstance(each, str)
            else _moved(each)
            for name, each in cast("dict[str, Any]", value).items()
            if not _is_left_out(name, each)
        }
    if isinstance(value, (list, tuple)):
        return [_moved(each) for each in cast("list[Any] | tuple[Any, ...]", value)]
    return value


def _is_left_out(name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether it is a list of examples, or OpenAPI's `discriminator`; a field may have either name."""
    if name == "examples":
        return isinstance(value, list)
    return name == "discriminator" and isinstance(value, dict) and "mapping" in value


def _references(value: Any) -> Iterable[str]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        for name, each in cast("dict[str, Any]", value).items():
            if name == "$ref" and isinstance(each, str):
                yield each.removeprefix(_DEFINITION)
            else:
                yield from _references(each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _references(each)
