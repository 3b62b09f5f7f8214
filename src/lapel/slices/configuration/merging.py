"""How a write changes an override, and how the overrides of several levels are merged into one value.

Here an override is flat: it maps dotted paths to values. So objects are merged path by path, and each path by
the rule of its field. kinds.py has these rules, also the rule of lists. Documents (in requests and in the
database) are nested.

Source for null in a write: JSON Merge Patch (RFC 7396).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import reduce
from typing import Any, TypeAlias, cast

from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.configuration.kinds import Value, refused
from lapel.slices.configuration.sections import Field, Level, Section, Source

# The most characters of an unknown path that an error repeats.
_SHOWN = 128

Flat: TypeAlias = Mapping[str, Value]
Document: TypeAlias = dict[str, Any]


def merge(section: Section, lower: Flat, upper: Flat) -> dict[str, Value]:
    """Merge a broader and a nearer override. The operation is associative."""
    merged = dict(lower)
    for path, value in upper.items():
        merged[path] = section.by_path[path].kind.merge(merged[path], value) if path in merged else value
    return merged


def resolve(section: Section, overrides: Iterable[Flat]) -> Document:
    """The resolved value of a section; `overrides` are ordered from the broadest.

    The defaults are the broadest level, but they limit no other level: an override may raise a limit above
    its default. The value has every field, except the unset fields whose `shown_unset` is false.
    """
    found = reduce(lambda lower, upper: merge(section, lower, upper), overrides, dict[str, Value]())
    unset = {each for each in section.optional if not any(path.startswith(f"{each}.") for path in found)}
    resolved: Document = {}
    for field in section.fields:
        value = found.get(field.path, field.default)
        if field.default is not None and field.path in found:
            value = field.kind.over_default(field.default, found[field.path])
        group = field.path.partition(".")[0]
        if group in unset:
            resolved[group] = None
        elif value is not None or field.shown_unset:
            _put(resolved, field.path, value)
    return resolved


def sources(section: Section, levels: Mapping[Level, Flat], value: Document) -> dict[str, Source]:
    """By the dotted path of each field in a resolved value: the level from which the field's value comes.

    `levels`: the overrides, the broadest first. Of an object that is null, the path is its own.
    """
    return {
        path: _source(section.by_path[path], levels) if path in section.by_path else "default"
        for path in _paths(value, "")
    }


def limited(section: Section, levels: Mapping[Level, Flat]) -> Iterable[tuple[Field, Level, Level]]:
    """The fields whose nearest override is not in force, because a broader level is stricter.

    Each with that nearest level, and with the level that wins.
    """
    for field in section.fields:
        given: list[Level] = [level for level, override in levels.items() if field.path in override]
        if field.kind.limits and given:
            source = _source(field, levels)
            if source != "default" and source != given[-1]:
                yield field, given[-1], source


def _source(field: Field, levels: Mapping[Level, Flat]) -> Source:
    given: dict[Level, Value] = {
        level: override[field.path] for level, override in levels.items() if field.path in override
    }
    if not given:
        return "default"
    merged = reduce(field.kind.merge, given.values())
    for level, value in reversed(given.items()):
        if value == merged:
            return level
    return next(reversed(given))  # a merged list may be that of no level; it begins with the nearest


def _paths(value: Document, prefix: str) -> Iterable[str]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _paths(cast("Document", each), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def patched(section: Section, override: Flat, change: Mapping[str, object]) -> dict[str, Value]:
    """An override after a PATCH: null clears a field or a whole object, as in JSON Merge Patch (RFC 7396).

    A list changes by the rule of its field's kind: unlike in RFC 7396, `Words` are merged position by
    position. Raises InvalidRequest for an unknown field or an invalid value; the error's `param` is the
    dotted path of the field.
    """
    after = dict(override)
    for path, value in leaves(section, change):
        field = section.by_path.get(path)
        if value is None:
            for each in [name for name in after if name == path or name.startswith(f"{path}.")]:
                del after[each]
        elif field is not None:
            checked = field.kind.check(value, path)
            keeps = isinstance(checked, list) and path in after
            after[path] = field.kind.merge(after[path], checked) if keeps else checked
    return after


def flat(section: Section, document: Document) -> dict[str, Value]:
    """A stored override as paths and values, without the fields and values that this version refuses."""
    found: dict[str, Value] = {}
    for field in section.fields:
        value: Any = document
        for name in field.path.split("."):
            value = cast("Document", value).get(name) if isinstance(value, dict) else None
        with suppress(InvalidRequest):
            if value is not None:
                found[field.path] = field.kind.check(value, field.path)
    return found


def nested(override: Flat) -> Document:
    """An override as a document."""
    document: Document = {}
    for path, value in override.items():
        _put(document, path, value)
    return document


def _put(document: Document, path: str, value: Value | None) -> None:
    *groups, name = path.split(".")
    for each in groups:
        document = document.setdefault(each, {})
    document[name] = value


def leaves(
    section: Section, change: Mapping[str, object], prefix: str = "", *, at: str = "", lenient: bool = False
) -> Iterable[tuple[str, object]]:
    """(path, value) of every field that a change names, and (path, None) of every object that it clears.

    Raises InvalidRequest for a value in place of an object and, if `lenient` is false, for an unknown field.
    The `param` of the error is `at` and the path.
    """
    for name, value in change.items():
        path = f"{prefix}{name}"
        if path in section.by_path and "." not in name:
            yield path, value
        elif path not in section.groups or "." in name:
            if lenient:
                continue
            known = dict.fromkeys(
                each[len(prefix) :].partition(".")[0] for each in section.by_path if each.startswith(prefix)
            )
            fields = ", ".join(f"`{prefix}{each}`" for each in known)
            raise refused(
                f"{at}{path}"[:_SHOWN],
                f"is not a field of the section `{section.name}`; the fields at this place are: {fields}",
            )
        elif value is None:
            yield path, None
        elif isinstance(value, dict):
            fields_within = cast("dict[str, object]", value)
            yield from leaves(section, fields_within, f"{path}.", at=at, lenient=lenient)
        else:
            raise refused(f"{at}{path}", "must be an object or null")
