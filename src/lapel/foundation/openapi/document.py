"""The OpenAPI 3.1 document, made only from the list of operations.

It lists exactly the statuses and error codes with which an operation can answer. The tests check every answer
that they get against the document.

Source: OpenAPI Specification 3.1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from lapel import __version__
from lapel.foundation.core.errors import (
    ApiError,
    Forbidden,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InternalError,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimitExceeded,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from lapel.foundation.http.calls import NoBody, NoQuery
from lapel.foundation.http.operations import LastingHandler, Operation
from lapel.foundation.http.responses import ErrorEnvelope, Problem
from lapel.foundation.openapi.schemas import Schema, Schemas, example_of
from lapel.foundation.openapi.shared_headers import HEADERS, LAST_EVENT_ID, PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.http.authorization import Access
    from lapel.foundation.identity.token_kinds import TokenKind

_DESCRIPTION = """\
The cloud for devices that record conversations: it stores audio, never loses an accepted
recording, and serves it through short-lived signed links.

Every answer has `X-Request-Id`. A field of a wrong type is 400, and so is an unknown or empty
parameter of a query. Unknown fields of a body are ignored and named in `Warning`; with
`Lapel-Strict: true`, and always where the schema of a body has `additionalProperties: false`,
they are 400. With `Accept: application/problem+json` errors have the form of RFC 9457.
"""

_ANY_ID = "^[A-Za-z0-9_]{1,128}$"
_UUID: Schema = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "examples": ["2f1c8a52-9f4e-4f0a-8a38-0d5f0a3b7c11"],
}

_LIMITS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_WAITS = frozenset({409, 425, 429, 502, 503})
_MEDIA_TYPES = {
    "json": "application/json",
    "text": "text/plain",
    "html": "text/html",
    "stream": "text/event-stream",
}


@dataclass(frozen=True, slots=True)
class Nouns:
    """Facts of the slices that the document shows: kinds of tokens, the prefix of the ids in each path
    parameter, and the path parameters that are UUIDs."""

    token_kinds: tuple[TokenKind, ...]
    ids: Mapping[str, str]
    uuids: frozenset[str] = frozenset()


def document(operations: Sequence[Operation], nouns: Nouns, *, server_url: str) -> Schema:
    """The document, as objects that can be written as JSON."""
    schemas = Schemas(
        requests=[
            *(each.body for each in operations if each.body is not NoBody),
            *(each.query for each in operations if each.query is not NoQuery),
        ],
        responses=[
            ErrorEnvelope,
            Problem,
            *(each.response for each in operations if each.response is not None),
        ],
    )
    responses: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, responses, nouns)
    for query in {each.query for each in operations} - {NoQuery}:
        schemas.drop(query)
    for form in {each.body for each in operations if each.files}:
        schemas.drop(form)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lapel",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": dict(sorted(responses.items())),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {
                each.scheme: {"type": "http", "scheme": "bearer", "description": each.description}
                for each in nouns.token_kinds
            },
        },
    }


def refusals(operation: Operation) -> list[type[ApiError]]:
    """Every error with which the operation can answer: those of the request path, and its own."""
    usual: list[type[ApiError]] = [InvalidRequest, InternalError, Unavailable]
    if not operation.access.public:
        usual += [Unauthorized, Forbidden, RateLimitExceeded]
    if operation.parameters or operation.idempotency == "stored":
        usual.append(NotFound)
    if operation.method != "GET":
        usual += [PayloadTooLarge, UnsupportedMediaType]
    if operation.idempotency == "stored":
        usual += [IdempotencyKeyInUse, IdempotencyKeyReused]
    return sorted({*usual, *operation.errors}, key=lambda error: (error.status, error.code))


def _operation(operation: Operation, schemas: Schemas, responses: dict[str, Schema], nouns: Nouns) -> Schema:
    made: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation, nouns),
        "tags": [operation.tag],
        "security": [
            {kind.scheme: scopes}
            for kind in nouns.token_kinds
            if kind.name in operation.access.callers
            for scopes in (_scopes_of_keys(operation.access) if kind.name == "key" else [[]])
        ],
        "parameters": _parameters(operation, schemas, nouns),
        "responses": _responses(operation, schemas, responses),
        "x-idempotency": operation.idempotency,
    }
    if operation.access.scope is not None:
        made["x-required-scope"] = operation.access.scope
        made["x-end-user-keys"] = operation.access.end_user_keys
    if operation.body is not NoBody:
        reference = schemas.reference(operation.body)
        example: Any = example_of(reference, schemas.components)
        if operation.files:
            made["requestBody"] = _form(operation, schemas, example)
            return made
        made["requestBody"] = {
            "required": schemas.asks_for_something(operation.body),
            "content": {"application/json": {"schema": reference, "examples": {"usual": {"value": example}}}},
        }
    return made


def _scopes_of_keys(access: Access) -> list[list[str]]:
    """The sets of scopes, one of which a key needs."""
    either = [each for each in (access.scope, access.or_scope) if each is not None]
    return [[each, *access.more_scopes] for each in either] or [[]]


def _form(operation: Operation, schemas: Schemas, example: Schema) -> Schema:
    """A form: the text fields of the struct, and the files."""
    fields = [*schemas.properties(operation.body)]
    encoding: Schema = {}
    for file in operation.files:
        schema: Schema = {
            "type": "string",
            "minLength": 1,
            "contentMediaType": "application/octet-stream",
            "description": f"{file.description} At most {file.max_bytes} bytes.",
        }
        fields.append((file.name, schema, file.required))
        named = f'form-data; name="{file.name}"; filename="update{file.suffix}"'
        header: Schema = {
            "description": f"The file's name ends in `{file.suffix}`.",
            "schema": {"type": "string"},
            "example": named,
        }
        encoding[file.name] = {"headers": {"Content-Disposition": header}}
    whole: Schema = {
        "type": "object",
        "properties": {name: schema for name, schema, _ in fields},
        "required": [name for name, _, required in fields if required],
    }
    content: Schema = {"schema": whole, "encoding": encoding, "examples": {"usual": {"value": example}}}
    return {"required": True, "content": {"multipart/form-data": content}}


def _description(operation: Operation, nouns: Nouns) -> str:
    """The operation's own description, and the callers that it admits."""
    words = [operation.description] if operation.description else []
    if operation.access.scope is not None:
        scopes = [f"`{each}`" for each in (operation.access.scope, *operation.access.more_scopes)]
        if operation.access.or_scope is not None:
            scopes[0] += f" or `{operation.access.or_scope}`"
        words.append(f"A key needs the scope{'s' * bool(operation.access.more_scopes)} {', '.join(scopes)}.")
        words.append(
            {
                "filter": "A key scoped to one end user sees only that end user's data.",
                "imply": "For a key scoped to one end user, the end user is always that one.",
                "deny": "A key scoped to one end user may not call this.",
            }[operation.access.end_user_keys]
        )
    elif "key" in operation.access.callers:
        words.append("Every key may call this, whatever its scopes.")
    others = [
        f"{kind.name.replace('_', '-')} tokens"
        for kind in nouns.token_kinds
        if kind.name != "key" and kind.name in operation.access.callers
    ]
    if others:
        words.append(f"Open to {' and '.join(others)}.")
    return " ".join(words)


def _parameters(operation: Operation, schemas: Schemas, nouns: Nouns) -> list[Schema]:
    made: list[Schema] = [_path_parameter(operation, name, nouns) for name in operation.parameters]
    if operation.query is not NoQuery:
        for name, schema, required in schemas.properties(operation.query):
            described = {key: value for key, value in schema.items() if key != "description"}
            if described.get("type") == "string" and name != "cursor" and "enum" not in described:
                described.setdefault("minLength", 1)  # an empty filter is refused
            made.append(
                {
                    "name": name,
                    "in": "query",
                    "required": required,
                    **({"description": schema["description"]} if "description" in schema else {}),
                    "schema": described,
                }
            )
    if operation.answer == "stream":
        made.append(LAST_EVENT_ID)
    if operation.method == "POST":
        made.append({"$ref": "#/components/parameters/IdempotencyKey"})
    if operation.method != "GET":
        made.append({"$ref": "#/components/parameters/Strict"})
    made.append({"$ref": "#/components/parameters/Version"})
    return made


def _path_parameter(operation: Operation, name: str, nouns: Nouns) -> Schema:
    prefix = nouns.ids.get(name)
    if name in nouns.uuids:
        schema = _UUID
    elif prefix is None:
        schema = {"type": "string", "pattern": _ANY_ID}
    else:
        callers = [kind for kind in nouns.token_kinds if kind.name in operation.access.callers]
        own = "me|" if name in {kind.me for kind in callers} else ""
        pattern = f"{prefix}_[A-Za-z0-9]{{1,64}}"
        schema = {
            "type": "string",
            "pattern": f"^({own}{pattern})$" if own else f"^{pattern}$",
            "examples": [f"{prefix}_0VvPq3xYz8KmW2nLc5RtB7dF"],
        }
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _responses(operation: Operation, schemas: Schemas, responses: dict[str, Schema]) -> Schema:
    limited = () if operation.access.public else _LIMITS
    made: Schema = {}
    for status in (operation.status, *operation.also):
        replayed = ("Idempotent-Replayed",) if operation.idempotency == "stored" else ()
        waits = ("Retry-After",) if status in _WAITS else ()
        named = ("Content-Disposition",) if operation.answer == "file" else ()
        warned = ("Warning",) if operation.method != "GET" else ()
        made[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": _header_references("X-Request-Id", *limited, *warned, *replayed, *waits, *named),
            **_content(operation, schemas),
        }
    by_status: dict[int, list[type[ApiError]]] = {}
    for error in refusals(operation):
        by_status.setdefault(error.status, []).append(error)
    for status, errors in by_status.items():
        if str(status) not in made:
            name = "-or-".join(error.code for error in errors) + ("" if limited else "-public")
            responses.setdefault(name, _refusal(status, errors, schemas, limited))
            made[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return made


def _content(operation: Operation, schemas: Schemas) -> Schema:
    if operation.answer == "empty" or operation.status == HTTPStatus.NO_CONTENT:
        return {}
    if operation.answer == "file":
        anything: Schema = {}
        return {"content": {each.partition(";")[0]: {"schema": anything} for each in operation.file_types}}
    if operation.answer != "json":
        schema: Schema = {"type": "string"}
    elif operation.response is None:
        schema = {"type": "object"}
    else:
        schema = schemas.reference(operation.response)
    content: Schema = {_MEDIA_TYPES[operation.answer]: {"schema": schema}}
    if isinstance(operation.handler, LastingHandler):
        # No type: some readers apply the schema to the whole text, others to each event as an object.
        content[_MEDIA_TYPES["stream"]] = {"schema": {}}
    return {"content": content}


def _refusal(status: int, errors: list[type[ApiError]], schemas: Schemas, limited: tuple[str, ...]) -> Schema:
    codes: Schema = {"enum": [error.code for error in errors]}
    # Unauthorized is answered before the limits are checked.
    headers = ["X-Request-Id", *(limited if status != HTTPStatus.UNAUTHORIZED else ())]
    headers.append("Warning")
    if status in _WAITS:
        headers.append("Retry-After")
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append("WWW-Authenticate")
    envelope: Schema = {"properties": {"error": {"properties": {"code": codes}}}}
    problem: Schema = {"properties": {"code": codes, "status": {"const": status}}}
    return {
        "description": " ".join(
            f"`{error.code}`: {(error.__doc__ or '').partition(chr(10))[0]}" for error in errors
        ),
        "headers": _header_references(*headers),
        "content": {
            "application/json": {"schema": {"allOf": [schemas.reference(ErrorEnvelope), envelope]}},
            "application/problem+json": {"schema": {"allOf": [schemas.reference(Problem), problem]}},
        },
    }


def _header_references(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
