"""The stored JSON text of clients' objects: parameters of commands, results and errors of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.http.input.fields import metadata_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.foundation.http.input.fields import JsonObject
    from lapel.slices.commands.wire import Params

# The parser of a small device has little memory for nesting.
MAX_LEVELS = 16


def params_text(params: Params) -> str:
    """The JSON text of a command's parameters, with every field. Raises InvalidRequest as `object_text`."""
    metadata = object_text(params.metadata, "params.metadata") or "{}"
    immediately = "true" if params.upload_immediately else "false"
    return (
        f'{{"max_duration_sec":{params.max_duration_sec},"upload_immediately":{immediately},'
        f'"metadata":{metadata}}}'
    )


def object_text(value: JsonObject | None, param: str) -> str | None:
    """The JSON text of a client's object, or None.

    Raises InvalidRequest when `value` is nested deeper than `MAX_LEVELS` or exceeds the limits of metadata.
    """
    if value is None:
        return None
    if _deeper(value, MAX_LEVELS):
        raise InvalidRequest(f"`{param}` may be nested at most {MAX_LEVELS} levels deep.", param=param)
    return metadata_text(value, param=param)


def _deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        inner: Iterable[object] = cast("dict[str, Any]", value).values()
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    else:
        return False
    return levels == 0 or any(_deeper(each, levels - 1) for each in inner)
