"""The configuration over HTTP.

A key scoped to one end user reads the configuration of that end user and of their devices, and writes none,
because the project decides how devices work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.errors import NotFound
from lapel.foundation.http.operations import NoBody, NoQuery, Operation
from lapel.slices.configuration.wire import (
    ConfigChange,
    ConfigDefinition,
    ConfigDefinitions,
    ConfigValue,
    ConfigValues,
)

if TYPE_CHECKING:
    import msgspec

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.http.operations import Params
    from lapel.slices.configuration.service import Configuration

_TAG = "Configuration"
_CHANGE = (
    "The body holds fields of this section only; another one is refused, with its path in `param`. Objects "
    "are merged deeply and lists place by place; null clears a field of the override, so that the broader "
    "levels count again. The answer is what results. The change is written to the audit log, and raises the "
    "`config_revision` of every device that it concerns."
)


class _Level:
    """The routes of one level; `parameter` is the path's parameter for the subject of the overrides."""

    def __init__(
        self,
        service: Configuration,
        level: Literal["project", "end_user", "device"],
        parameter: str,
        path: str,
        whose: str,
    ) -> None:
        self._service = service
        self._level: Literal["project", "end_user", "device"] = level
        self._parameter = parameter
        self._path = path
        self._whose = whose
        self._prefix = "" if level == "project" else f"{level}_"
        self._reads: Literal["filter", "deny"] = "deny" if level == "project" else "filter"

    async def read_all(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> ConfigValues:
        return await self._service.read_all(actor, self._level, params.get(self._parameter, ""))

    async def read(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> ConfigValue:
        subject = params.get(self._parameter, "")
        return await self._service.read(actor, self._level, subject, params["section"])

    async def patch(self, actor: Actor, params: Params, _query: NoQuery, body: msgspec.Struct) -> ConfigValue:
        subject = params.get(self._parameter, "")
        return await self._service.patch(actor, self._level, subject, params["section"], body)

    async def clear(self, actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> None:
        await self._service.clear(actor, self._level, params.get(self._parameter, ""), params["section"])

    def operations(self) -> tuple[Operation, ...]:
        """Reading all sections or one; changing and clearing an override."""
        return (
            Operation(
                method="GET",
                path=self._path,
                name=f"list_{self._prefix}config",
                summary=f"Read the configuration of {self._whose}",
                description="Every section, under all levels from the built-in defaults to this one.",
                tag=_TAG,
                handler=self.read_all,
                scope="config:read",
                end_user_keys=self._reads,
                response=ConfigValues,
            ),
            Operation(
                method="GET",
                path=f"{self._path}/{{section}}",
                name=f"get_{self._prefix}config",
                summary=f"Read a section of the configuration of {self._whose}",
                tag=_TAG,
                handler=self.read,
                scope="config:read",
                end_user_keys=self._reads,
                response=ConfigValue,
                errors=(NotFound,),
            ),
            Operation(
                method="PATCH",
                path=f"{self._path}/{{section}}",
                name=f"update_{self._prefix}config",
                summary=f"Change what {self._whose} overrides of a section",
                description=_CHANGE,
                tag=_TAG,
                handler=self.patch,
                scope="config:write",
                body=ConfigChange,
                response=ConfigValue,
                errors=(NotFound,),
                idempotency="natural",
            ),
            Operation(
                method="DELETE",
                path=f"{self._path}/{{section}}",
                name=f"clear_{self._prefix}config",
                summary=f"Clear what {self._whose} overrides of a section",
                description="The broader levels count again. No effect when nothing is overridden.",
                tag=_TAG,
                handler=self.clear,
                scope="config:write",
                status=204,
                answer="empty",
                errors=(NotFound,),
                idempotency="natural",
            ),
        )


def operations(service: Configuration) -> tuple[Operation, ...]:
    """All routes of the configuration."""

    async def definitions(
        _actor: Actor, _params: Params, _query: NoQuery, _body: NoBody
    ) -> ConfigDefinitions:
        return service.definitions()

    async def definition(_actor: Actor, params: Params, _query: NoQuery, _body: NoBody) -> ConfigDefinition:
        return service.definition(params["section"])

    async def put(actor: Actor, params: Params, _query: NoQuery, body: msgspec.Struct) -> ConfigValue:
        return await service.put(actor, params["project_id"], params["section"], body)

    return (
        Operation(
            method="GET",
            path="/v1/config/schema",
            name="list_config_sections",
            summary="Read what every section of the configuration is",
            tag=_TAG,
            handler=definitions,
            scope="config:read",
            response=ConfigDefinitions,
        ),
        Operation(
            method="GET",
            path="/v1/config/schema/{section}",
            name="get_config_section",
            summary="Read what a section of the configuration is",
            tag=_TAG,
            handler=definition,
            scope="config:read",
            response=ConfigDefinition,
            errors=(NotFound,),
        ),
        *_Level(service, "project", "", "/v1/config", "the project").operations(),
        *_Level(
            service, "end_user", "end_user_id", "/v1/end-users/{end_user_id}/config", "an end user"
        ).operations(),
        *_Level(service, "device", "device_id", "/v1/devices/{device_id}/config", "a device").operations(),
        Operation(
            method="PUT",
            path="/v1/projects/{project_id}/config/{section}",
            name="replace_project_config",
            summary="Replace what the project overrides of a section",
            description=f"The older form: what the body leaves out is cleared. {_CHANGE}",
            tag=_TAG,
            handler=put,
            scope="config:write",
            body=ConfigChange,
            response=ConfigValue,
            errors=(NotFound,),
            idempotency="natural",
        ),
    )
