"""The configuration over HTTP.

A key scoped to one end user reads the configuration of that end user and of the end user's devices. It writes
no configuration, because the project decides how devices work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lapel.foundation.http.authorization import Access
from lapel.foundation.http.routes import Routes, ready
from lapel.slices.configuration.wire import (
    ConfigChange,
    ConfigDefinition,
    ConfigDefinitions,
    ConfigValue,
    ConfigValues,
)

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.slices.configuration.service import Configuration

_TAG = "Configuration"
_READ = Access("config:read")
_READ_OWN = Access("config:read", end_user_keys="filter")
_WRITE = Access("config:write")
_CHANGE = (
    "The body has fields of this section; an unknown field is 400, with its path in `param`. Null clears a "
    "field of the override, so that the broader levels apply again. The answer is the resolved value, for "
    "which the levels are merged: objects deeply, `upload_network_preference` position by position; "
    "`languages` is replaced as a whole. A change is written to the audit log, and raises the "
    "`config_revision` of every device that it concerns. A key needs `recordings:write` and `audit:read` too "
    "for the section `retention`, and `keys:write` for a laxer `encrypted_upload_policy`."
)


def operations(service: Configuration) -> tuple[Operation, ...]:
    """All routes of the configuration."""
    config = Routes(_TAG, read=_READ, write=_WRITE)
    return (
        config.get("/v1/config/schema", "list_config_sections", ConfigDefinitions).plain(
            "Describe all sections of the configuration", lambda _: ready(service.definitions())
        ),
        config.get("/v1/config/schema/{section}", "get_config_section", ConfigDefinition).plain(
            "Describe a section of the configuration", lambda call: ready(service.definition(call.id))
        ),
        *_level(service, "project", "", "/v1/config", "the project"),
        *_level(service, "end_user", "end_user_id", "/v1/end-users/{end_user_id}/config", "an end user"),
        *_level(service, "device", "device_id", "/v1/devices/{device_id}/config", "a device"),
        config.put(
            "/v1/projects/{project_id}/config/{section}", "replace_project_config", ConfigValue, ConfigChange
        ).plain(
            "Replace the project's override of a section",
            lambda call: service.put(call.actor, call.id, call.params["section"], call.body),
            f"The older form. Fields that the body leaves out are cleared. {_CHANGE}",
            audit="config.updated",
        ),
    )


def _level(
    service: Configuration,
    level: Literal["project", "end_user", "device"],
    parameter: str,
    path: str,
    whose: str,
) -> tuple[Operation, ...]:
    """The routes of one level; `parameter` is the path's parameter for the subject of the overrides."""
    config = Routes(_TAG, read=_READ if level == "project" else _READ_OWN, write=_WRITE)
    prefix = "" if level == "project" else f"{level}_"
    section = f"{path}/{{section}}"
    return (
        config.get(path, f"list_{prefix}config", ConfigValues).plain(
            f"Read the configuration of {whose}",
            lambda call: service.read_all(call.actor, level, call.params.get(parameter, "")),
            "The resolved values of all sections: the built-in defaults and all levels down to this one.",
        ),
        config.get(section, f"get_{prefix}config", ConfigValue).plain(
            f"Read a section of the configuration of {whose}",
            lambda call: service.read(
                call.actor, level, call.params.get(parameter, ""), call.params["section"]
            ),
        ),
        config.patch(section, f"update_{prefix}config", ConfigValue, ConfigChange).plain(
            f"Change the override of a section for {whose}",
            lambda call: service.patch(
                call.actor, level, call.params.get(parameter, ""), call.params["section"], call.body
            ),
            _CHANGE,
            audit="config.updated",
        ),
        config.delete(section, f"clear_{prefix}config").plain(
            f"Clear the override of a section for {whose}",
            lambda call: service.clear(
                call.actor, level, call.params.get(parameter, ""), call.params["section"]
            ),
            "The broader levels apply again. If there is no override, nothing happens. A key needs "
            "`recordings:write` and `audit:read` too for the section `retention`, and `keys:write` to clear "
            "an `encrypted_upload_policy` that is not the laxest.",
            natural=True,
            audit="config.cleared",
        ),
    )
