"""Makes the `components.schemas` of the OpenAPI document from the structs of operations.

Sources: OpenAPI Specification 3.1.0 (Schema Object), and JSON Schema 2020-12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

# The JSON that is built here; JSON Schema allows values of any type.
Schema = dict[str, Any]
_TEMPLATE = "#/components/schemas/{name}"


class Schemas:
    """The components that a set of structs needs, and references into them.

    In a struct that only the server sends, every field that is always present is `required`, also a field
    with a default, because clients may rely on the field.
    """

    def __init__(
        self, requests: Iterable[type[msgspec.Struct]], responses: Iterable[type[msgspec.Struct]]
    ) -> None:
        received, sent = _reachable(requests), _reachable(responses)
        structs = list(dict.fromkeys([*sent, *received]))
        references, components = msgspec.json.schema_components(structs, ref_template=_TEMPLATE)
        self._references = dict(zip(structs, references, strict=True))
        self.components: dict[str, Schema] = {name: _polish(each) for name, each in components.items()}
        for struct in structs:
            self._of(struct).update(_rules_of(struct))
            if struct in sent and struct not in received:
                self._of(struct)["required"] = always_sent(struct)

    def reference(self, struct: type[msgspec.Struct]) -> Schema:
        """`{"$ref": …}` of a struct."""
        return self._references[struct]

    def properties(self, struct: type[msgspec.Struct]) -> list[tuple[str, Schema, bool]]:
        """(name, schema, whether required) of each field, for parameters. The schema does not allow null."""
        schema = self._of(struct)
        return [
            (name, _without_null(each), name in schema["required"])
            for name, each in schema["properties"].items()
        ]

    def asks_for_something(self, struct: type[msgspec.Struct]) -> bool:
        """Whether an empty object would be refused."""
        schema = self._of(struct)
        choices = schema.get("then", {}).get("anyOf", [{}])
        return bool(schema["required"]) or all("required" in each for each in choices)

    def drop(self, struct: type[msgspec.Struct]) -> None:
        """Leave out a struct that nothing refers to, such as a query that became parameters."""
        self.components.pop(self._name(struct), None)

    def _name(self, struct: type[msgspec.Struct]) -> str:
        return str(self._references[struct]["$ref"]).rpartition("/")[2]

    def _of(self, struct: type[msgspec.Struct]) -> Schema:
        return self.components[self._name(struct)]


def always_sent(struct: type[msgspec.Struct]) -> list[str]:
    """The names of the fields that every encoded value of the struct has."""
    omits = struct.__struct_config__.omit_defaults
    return [
        field.encode_name
        for field in msgspec.structs.fields(struct)
        if field.required or not (omits or field.default is msgspec.UNSET)
    ]


def example_of(schema: Schema, components: dict[str, Schema]) -> Any:  # noqa: ANN401 - any JSON value
    """A value that the schema allows, made of its own examples and defaults.

    Of an object, only required fields and fields with an example are shown.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components)
    if schema.get("examples"):
        return schema["examples"][0]
    for choice in ("enum", "anyOf"):
        if choice in schema and "properties" not in schema:
            first = schema[choice][0]
            return first if choice == "enum" else example_of(first, components)
    if schema.get("default") is not None:
        return schema["default"]
    match schema.get("type"):
        case "object":
            properties: dict[str, Schema] = schema.get("properties", {})
            required = schema.get("required", [])
            return {
                name: example_of(each, components)
                for name, each in properties.items()
                if name in required or _has_example(each)
            }
        case "array":
            return [example_of(schema["items"], components)] if "items" in schema else []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "string":
            if schema.get("format") == "date-time":
                return "2026-01-15T12:00:00.000Z"
            return "x" * max(1, schema.get("minLength", 1))
        case _:
            return None


def _has_example(schema: Schema) -> bool:
    return bool(schema.get("examples")) or any(_has_example(each) for each in schema.get("anyOf", []))


def _reachable(structs: Iterable[type[msgspec.Struct]]) -> dict[type[msgspec.Struct], None]:
    """The structs and all structs in their fields, in a stable order (a dict as an ordered set)."""
    found: dict[type[msgspec.Struct], None] = {}
    for struct in structs:
        _walk(msgspec.inspect.type_info(struct), found)
    return found


def _walk(kind: object, found: dict[type[msgspec.Struct], None]) -> None:
    if isinstance(kind, msgspec.inspect.StructType):
        if kind.cls not in found:
            found[kind.cls] = None
            for field in kind.fields:
                _walk(field.type, found)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            _walk(each, found)
    elif isinstance(kind, msgspec.inspect.CollectionType):
        _walk(kind.item_type, found)
    elif isinstance(kind, msgspec.inspect.DictType):
        _walk(kind.value_type, found)
    elif isinstance(kind, msgspec.inspect.Metadata):
        _walk(kind.type, found)


def _rules_of(struct: type[msgspec.Struct]) -> Schema:
    """Rules across fields (`json_rules: ClassVar[…]`), which types cannot express.

    Alternatives stand below `then`: generators of clients take `anyOf` beside the properties for a choice
    between types, and lose the properties.
    """
    rules: Schema = getattr(struct, "json_rules", {})
    choices = {name: each for name, each in rules.items() if name in ("anyOf", "oneOf")}
    if not choices:
        return rules
    return {**{name: rules[name] for name in rules.keys() - choices}, "if": True, "then": choices}


def _without_null(schema: Schema) -> Schema:
    kinds = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", ...) is None or rest.get("default") == "":
        del rest["default"]
    if not kinds:
        return rest
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}


def _polish(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Python's end of string, `\\Z`, is `$` in JSON Schema's regular expressions. A choice of one boolean is
    `const`, because generators of clients make no enumeration of it."""
    if isinstance(value, dict):
        polished = {
            name: each.replace(r"\Z", "$") if name == "pattern" and isinstance(each, str) else _polish(each)
            for name, each in cast("dict[str, Any]", value).items()
        }
        if polished.get("enum") in ([False], [True]):
            (polished["const"],) = polished.pop("enum")
        return polished
    if isinstance(value, (list, tuple)):
        return [_polish(each) for each in cast("list[Any] | tuple[Any, ...]", value)]
    return value
