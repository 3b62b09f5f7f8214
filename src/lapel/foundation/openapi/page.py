"""The OpenAPI document as one HTML page: no network, no framework, readable without JavaScript.

docs/decisions/0016 says why Lapel makes this page itself.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.foundation.openapi.schemas import Schema

_ASSETS = Path(__file__).parent / "assets"
_FORM = "multipart/form-data"
_CODE = re.compile(r"`([^`]+)`")
_RULES = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} keys"),
    ("default", "default {}"),
)


# Errors that every route may answer: shown once instead of for each route.
_USUAL = {
    "400": "invalid_request",
    "401": "unauthorized",
    "403": "forbidden",
    "413": "payload_too_large",
    "415": "unsupported_media_type",
    "422": "idempotency_key_reused",
    "429": "rate_limit_exceeded",
    "500": "internal_error",
    "503": "unavailable",
}


def page(document: Schema) -> bytes:
    """The whole page, UTF-8. It works if the Content-Security-Policy allows only inline style and script."""
    return _Page(document).render().encode()


class _Page:
    def __init__(self, document: Schema) -> None:
        self._document = document
        self._components: Schema = document["components"]
        self._operations: list[tuple[str, str, Schema]] = [
            (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def render(self) -> str:
        info = self._document["info"]
        script = (_ASSETS / "page.js").read_text(encoding="utf-8")
        style = (_ASSETS / "page.css").read_text(encoding="utf-8")
        title = escape(info["title"])
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} API</title>
<style>{style}</style>
</head>
<body>
<nav>
<h1>{title} API<small>{escape(info["version"])}</small></h1>
<input id="search" type="search" placeholder="Search" aria-label="Search operations" autocomplete="off">
<p class="hint" id="hint">Press / to search</p>
{"".join(self._navigation())}
</nav>
<main>
<header>{self._introduction()}</header>
{"".join(self._sections())}
<footer>Made from <a href="/v1/openapi.json">/v1/openapi.json</a>, which any OpenAPI 3.1 tool reads.</footer>
</main>
<script>{script}</script>
</body>
</html>
"""

    def _by_tag(self) -> Iterator[tuple[str, list[tuple[str, str, Schema]]]]:
        for tag in self._document["tags"]:
            yield tag["name"], [each for each in self._operations if tag["name"] in each[2]["tags"]]

    def _navigation(self) -> Iterator[str]:
        for tag, operations in self._by_tag():
            links = "".join(
                f'<li data-words="{_words(method, path, each)}"><a href="#{each["operationId"]}">'
                f"{_method(method)}<span>{escape(each['summary'])}</span></a></li>"
                for method, path, each in operations
            )
            yield f"<div data-group><h2>{escape(tag)}</h2><ul>{links}</ul></div>"

    def _introduction(self) -> str:
        first, *rest = self._document["info"]["description"].strip().split("\n\n")
        server = escape(self._document["servers"][0]["url"])
        tokens = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{_prose(scheme['description'])}</td></tr>"
            for name, scheme in self._components["securitySchemes"].items()
        )
        return (
            f'<p class="lead">{_prose(first)}</p>'
            + "".join(f"<p>{_prose(each)}</p>" for each in rest)
            + f"<h4>Server</h4><pre>{server}</pre>"
            f"<h4>Tokens: <code>Authorization: Bearer …</code></h4>"
            f'<div class="scroll"><table>{tokens}</table></div>{self._usual()}'
        )

    def _sections(self) -> Iterator[str]:
        for tag, operations in self._by_tag():
            articles = "".join(self._article(*each) for each in operations)
            yield f"<section data-group><h2>{escape(tag)}</h2>{articles}</section>"

    def _article(self, method: str, path: str, operation: Schema) -> str:
        name = operation["operationId"]
        shown = re.sub(r"(\{[^}]+\})", r"<b>\1</b>", escape(path))
        parts = [
            f'<article id="{name}" data-words="{_words(method, path, operation)}">',
            f'<h3><a href="#{name}">{_prose(operation["summary"])}</a></h3>',
            f'<div class="route">{_method(method)}<span class="path">{shown}</span></div>',
            f"<p>{_prose(operation['description'])}</p>" if operation["description"] else "",
            self._chips(operation),
            self._parameters(operation),
            self._body(operation),
            f"<h4>Try it</h4><pre>{escape(self._curl(method, path, operation))}</pre>",
            f"<h4>Answers</h4>{self._answers(operation)}",
            "</article>",
        ]
        return "".join(parts)

    def _chips(self, operation: Schema) -> str:
        chips = [f"<code>{escape(name)}</code>" for each in operation["security"] for name in each]
        if not chips:
            chips = ["no token"]
        if "x-required-scope" in operation:
            chips.append(f"scope <code>{escape(operation['x-required-scope'])}</code>")
        if operation["x-idempotency"] == "stored":
            chips.append("takes an <code>Idempotency-Key</code>")
        return '<ul class="chips">' + "".join(f"<li>{each}</li>" for each in chips) + "</ul>"

    def _parameters(self, operation: Schema) -> str:
        rows = "".join(
            self._row(each["name"], each["schema"], each.get("required", False), each.get("description", ""))
            for each in operation["parameters"]
            if "$ref" not in each
        )
        return f'<h4>Parameters</h4><div class="scroll"><table>{rows}</table></div>' if rows else ""

    def _body(self, operation: Schema) -> str:
        body = operation.get("requestBody")
        if body is None:
            return ""
        (kind, content), *_ = body["content"].items()
        title = "Form" if kind == _FORM else "Body"
        return f"<h4>{title}</h4>{self._table(content['schema'])}"

    def _curl(self, method: str, path: str, operation: Schema) -> str:
        url = self._document["servers"][0]["url"] + path
        for each in operation["parameters"]:
            if each.get("in") == "path":
                url = url.replace(f"{{{each['name']}}}", each["schema"].get("examples", ["…"])[0])
        words = ["curl"] + ([f"-X {method.upper()}"] if method not in {"get", "post"} else [])
        lines = [" ".join([*words, f"'{url}'"])]
        if operation["security"]:
            lines.append('-H "Authorization: Bearer $LAPEL_KEY"')
        body = operation.get("requestBody")
        if body is not None:
            (kind, content), *_ = body["content"].items()
            example = content["examples"]["usual"]["value"]
            if kind == _FORM:
                lines += [f"-F {name}={value}" for name, value in example.items()]
                required = content["schema"]["required"]
                lines += [f"-F {name}=@update.{name}" for name in content["encoding"] if name in required]
            else:
                lines += [
                    "-H 'Content-Type: application/json'",
                    f"-d '{json.dumps(example, ensure_ascii=False)}'",
                ]
        elif method == "post":
            lines[0] = lines[0].replace("curl", "curl -X POST", 1)
        return " \\\n  ".join(lines)

    def _answers(self, operation: Schema) -> str:
        """The successes with their fields, the operation's own errors, and the usual errors in a line."""
        told: list[str] = []
        usual: list[str] = []
        for status, response in operation["responses"].items():
            if status in _USUAL and "$ref" in response:
                usual.append(f'<a href="#errors"><code>{status}</code></a>')
            else:
                told.append(self._answer(status, response))
        return "".join(told) + f'<p class="rule">As everywhere: {" ".join(usual)}</p>'

    def _answer(self, status: str, response: Schema) -> str:
        refusal = "$ref" in response
        response = self._resolve(response)
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        mark = "status" if refusal else "status ok"
        text = f'<span class="{mark}">{status}</span> {_prose(response["description"])}'
        if schema is None or refusal or schema == {"type": "object"}:
            return f"<p>{text}</p>"
        return f"<details><summary>{text}</summary>{self._table(schema)}</details>"

    def _usual(self) -> str:
        """The errors of any operation, shown once."""
        refusals = {
            (status, response["$ref"]): response
            for _, _, operation in self._operations
            for status, response in operation["responses"].items()
            if status in _USUAL and response.get("$ref", "").endswith(_USUAL[status])
        }
        rows = "".join(
            f"<tr><td><code>{status}</code></td><td>{_prose(self._resolve(response)['description'])}</td></tr>"
            for (status, _), response in sorted(refusals.items(), key=lambda each: each[0])
        )
        return f'<h4 id="errors">Errors of any route</h4><div class="scroll"><table>{rows}</table></div>'

    def _table(self, schema: Schema) -> str:
        return f'<div class="scroll"><table>{"".join(self._rows(self._resolve(schema), ""))}</table></div>'

    def _rows(self, schema: Schema, prefix: str) -> Iterator[str]:
        required = schema.get("required", [])
        for name, each in schema.get("properties", {}).items():
            yield self._row(prefix + name, each, name in required, _told(each))
            inner = self._inner(each)
            if inner is not None and prefix.count(".") < 2:
                suffix = "[]." if self._kind(each).startswith("array") else "."
                yield from self._rows(inner, f"{prefix}{name}{suffix}")

    def _inner(self, schema: Schema) -> Schema | None:
        """The object in a field: its value, the item of its list, or the alternative to null."""
        if "anyOf" in schema:
            return next((found for each in schema["anyOf"] if (found := self._inner(each))), None)
        if schema.get("type") == "array":
            return self._inner(schema.get("items", {}))
        resolved = self._resolve(schema)
        return resolved if resolved.get("properties") else None

    def _row(self, name: str, schema: Schema, required: bool, description: str) -> str:
        must = '<span class="must">required</span>' if required else ""
        rules = _rules(schema)
        deep = ' class="deep"' if "." in name else ""
        words = " ".join(
            filter(None, (_prose(description), f'<span class="rule">{rules}</span>' if rules else ""))
        )
        return (
            f"<tr{deep}><td><code>{escape(name)}</code>{must}</td>"
            f'<td class="kind">{escape(self._kind(schema))}</td><td>{words}</td></tr>'
        )

    def _kind(self, schema: Schema) -> str:
        if "$ref" in schema:
            return self._kind(self._resolve(schema))
        if "anyOf" in schema:
            return " or ".join(self._kind(each) for each in schema["anyOf"])
        if schema.get("format") == "date-time":
            return "time"
        if "enum" in schema:
            return "string"
        kind = str(schema.get("type", "any"))
        return f"array of {self._kind(schema['items'])}s" if kind == "array" and "items" in schema else kind

    def _resolve(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        found: Any = self._document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found


def _told(schema: Schema) -> str:
    """A field's description: its own, else the description of its value."""
    own: str | None = schema.get("description")
    if own:
        return own
    return next((told for each in schema.get("anyOf", []) if (told := _told(each))), "")


def _rules(schema: Schema) -> str:
    """The rules of a value, in words."""
    told = [
        text.format(f"<code>{escape(json.dumps(schema[key]))}</code>")
        for key, text in _RULES
        if schema.get(key) is not None
    ]
    if "enum" in schema:
        told.append("one of " + " ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"]))
    if "pattern" in schema:
        told.append(f"like <code>{escape(schema['pattern'])}</code>")
    inner = [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
    told += [rules for each in inner if (rules := _rules(each))]
    return ", ".join(told)


def _prose(text: str) -> str:
    """Escaped text; text between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _method(method: str) -> str:
    return f'<span class="method {method}">{method.upper()}</span>'


def _words(method: str, path: str, operation: Schema) -> str:
    """The text in which the page's search looks for words."""
    words = (method, path, operation["operationId"], operation["summary"], *operation["tags"])
    return escape(" ".join((*words, operation.get("x-required-scope", ""))).lower())
