"""`lapel config show|set|clear`: the configuration that an organization overrides for its projects."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.slices.configuration.operator.service import OperatorConfiguration
from lapel.slices.configuration.views import section_named
from lapel.slices.configuration.wire import ConfigValue

Section = Annotated[str, Parameter(help="Name of the section, such as upload.")]
AnySection = Annotated[str | None, Parameter(help="Name of a section. Default: all of them.")]
Fields = Annotated[
    str,
    Parameter(
        help="FIELD=VALUE: a dotted path, and JSON or a word: allow_roaming=true. null clears the field."
    ),
]
Mode = Annotated[
    Literal["test", "live"], Parameter(help="Which worlds of the organization's projects: test or live.")
]
Organization = Annotated[
    str | None, Parameter(help="Id of the organization. Default: the only one there is.")
]


def show(
    section: AnySection = None,
    /,
    *,
    mode: Mode = "test",
    organization: Organization = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Show the built-in defaults merged with the organization's overrides, and each section's source.

    For example:

        lapel config show
        lapel config show upload --mode live --json
    """
    if section is not None:
        section_named(section)
    found = with_ports(
        settings_of(data_dir),
        lambda ports: OperatorConfiguration(ports, mode=mode, organization_id=organization).read(),
    )
    if section is not None:
        emit(found[section], json, lambda: _shown({section: found[section]}))
    else:
        emit({"data": found}, json, lambda: _shown(found))


def set_(
    section: Section,
    /,
    *fields: Fields,
    mode: Mode = "test",
    organization: Organization = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Override fields of a section for all projects of the organization.

    The levels of a project, an end user and a device are merged with it, for most fields so that the nearest
    level wins. Of some fields the strictest value counts: a project can keep recordings shorter than the
    `retention` of its organization, but not longer. docs/configuration.md tells the rule of each field.

    For example:

        lapel config set upload daily_data_limit_mb=200 allow_roaming=false
        lapel config set ota auto_update.enabled=true --mode live
        lapel config set connection 'upload_network_preference=["wifi","ble"]'
        lapel config set retention recordings_days=null
    """
    change = _change(list(fields))
    changed = with_ports(
        settings_of(data_dir),
        lambda ports: OperatorConfiguration(ports, mode=mode, organization_id=organization).patch(
            section, change
        ),
    )
    emit(changed, json, lambda: _shown({section: changed}))


def clear(
    section: Section,
    /,
    *,
    mode: Mode = "test",
    organization: Organization = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Remove the organization's overrides of a section.

    For example:

        lapel config clear upload
        lapel config clear upload --mode live --organization org_… --json
    """
    cleared = with_ports(
        settings_of(data_dir),
        lambda ports: OperatorConfiguration(ports, mode=mode, organization_id=organization).clear(section),
    )
    emit(cleared, json, lambda: _shown({section: cleared}))


def _change(fields: list[str]) -> dict[str, Any]:
    """The document that FIELD=VALUE arguments describe.

    Raises CommandError when there is no argument, an argument has another form, or two arguments contradict
    each other.
    """
    if not fields:
        raise CommandError("name at least one FIELD=VALUE, such as allow_roaming=true.")
    change: dict[str, Any] = {}
    for each in fields:
        path, equals, text = each.partition("=")
        if not path or not equals:
            raise CommandError(f"{each!r} is not FIELD=VALUE, such as allow_roaming=true.")
        *groups, name = path.split(".")
        at = change
        for group in groups:
            inner = at.setdefault(group, {})
            if not isinstance(inner, dict):
                raise CommandError(f"{path!r}: another argument already sets {group!r}.")
            at = cast("dict[str, Any]", inner)
        at[name] = _value(text)
    return change


def _value(text: str) -> object:
    """The value of the text: decoded if the text is JSON, otherwise the text itself."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _shown(found: dict[str, ConfigValue]) -> str:
    lines: list[str] = []
    for name, each in found.items():
        lines.append(f"{name}  ({each.source})")
        value: dict[str, Any] = msgspec.json.decode(each.value)
        lines += [f"  {path} = {msgspec.json.encode(leaf).decode()}" for path, leaf in _leaves(value, "")]
        lines += [f"  warning: {warning.message}" for warning in each.warnings or ()]
    return "\n".join(lines)


def _leaves(value: dict[str, Any], prefix: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, each in value.items():
        if isinstance(each, dict):
            found += _leaves(cast("dict[str, Any]", each), f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", each))
    return found
