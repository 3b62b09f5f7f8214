"""JSON Merge Patch (RFC 7396), as the reference for comparisons."""

from __future__ import annotations

from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """The pseudocode of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def set_of(document: Any) -> Any:
    """A document without objects in which nothing is set, at any depth."""
    if not isinstance(document, dict):
        return document
    kept = {name: set_of(value) for name, value in document.items()}
    return {name: value for name, value in kept.items() if value != {}}
