"""The JSON Schemas of a tool, made from the structs of its operation.

The parameters of path, query and body stand side by side. The only parameter of a path is called `id`, as in
the contract's paths. No rule across arguments stands in the schema of the arguments, because some models take
no `anyOf` there; the operation checks such rules.

Source: JSON Schema 2020-12; "Tools", Model Context Protocol, revision 2025-11-25.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from lapel.foundation.http.calls import NoBody, NoQuery
from lapel.foundation.openapi.schemas import Schema, Schemas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import msgspec

    from lapel.foundation.http.operations import Operation

ID = "id"
_COMPONENT = "#/components/schemas/"
_DEFINITION = "#/$defs/"


class ToolSchemas:
    """The schemas of one tool's arguments and answer, and the form of its id."""

    def __init__(
        self,
        operation: Operation,
        ids: Mapping[str, str],
        hidden: frozenset[str],
        found_by: str | None,
        finder: Operation | None,
    ) -> None:
        """`hidden`: arguments that are left out. `found_by`: the argument of `finder` that may stand in place
        of the id."""
        structs = [each for each in (operation.query, operation.body) if each not in (NoQuery, NoBody)]
        schemas = Schemas(structs if finder is None else [*structs, finder.query], ())
        properties: dict[str, Schema] = {}
        required: list[str] = []
        self.id_pattern: re.Pattern[str] | None = None
        if operation.parameters:
            properties[ID] = self._id(operation, ids)
            required += [] if finder else [ID]
        for name, schema, needed in _fields(schemas, structs):
            if name not in hidden:
                properties[name] = schema
                required += [name] if needed else []
        if finder is not None:
            properties |= {name: one for name, one, _ in schemas.properties(finder.query) if name == found_by}
        self.arguments = _whole(
            {"type": "object", "properties": properties, "required": required}, schemas.components
        )
        if not required:
            del self.arguments["required"]
        self.answer = _answer(operation)

    def _id(self, operation: Operation, ids: Mapping[str, str]) -> Schema:
        (parameter,) = operation.parameters
        prefix = ids[parameter]
        pattern = f"{prefix}_[A-Za-z0-9]{{1,64}}"
        self.id_pattern = re.compile(rf"{pattern}\Z")
        noun = parameter.removesuffix("_id").replace("_", " ")
        return {"type": "string", "pattern": f"^{pattern}$", "description": f"The id of the {noun}."}


def _fields(schemas: Schemas, structs: Iterable[type[msgspec.Struct]]) -> Iterable[tuple[str, Schema, bool]]:
    for struct in structs:
        yield from schemas.properties(struct)


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
    """The value with references into `$defs`, without examples (a client's model reads each of them)."""
    if isinstance(value, dict):
        return {
            name: each.replace(_COMPONENT, _DEFINITION)
            if name == "$ref" and isinstance(each, str)
            else _moved(each)
            for name, each in cast("dict[str, Any]", value).items()
            if not (name == "examples" and isinstance(each, list))
        }
    if isinstance(value, (list, tuple)):
        return [_moved(each) for each in cast("list[Any] | tuple[Any, ...]", value)]
    return value


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
