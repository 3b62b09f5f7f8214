"""`lapel keys create|list|revoke|rotate`. The server may be running or stopped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from cyclopts import Parameter

from lapel.cli.doctor.secret_checks import warn_of_other_secrets
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import revoking, settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, is_piped, moment, table
from lapel.foundation.core.errors import InvalidRequest, NotFound
from lapel.slices.projects.operator import OperatorKeys

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.projects.wire import ApiKey, CreatedApiKey, RotatedApiKey

T = TypeVar("T")
Mode = Annotated[Literal["test", "live"], Parameter(help="World of the key: test or live.")]
Project = Annotated[str | None, Parameter(help="Id of the project. Default: the only one there is.")]
Scopes = Annotated[
    str | None,
    Parameter(help="Scopes of a restricted key, with commas between them. Default: a secret key."),
]
EndUser = Annotated[
    str | None,
    Parameter(help="Id of an end user. Restricts the key to that end user's data; needs --scopes."),
]
Expires = Annotated[
    str | None,
    Parameter(help="When the key ends: 90d, 12h, 30m from now, or a time such as 2027-01-31T12:00:00Z."),
]
KeyName = Annotated[str | None, Parameter(help="A name for people.")]
KeyId = Annotated[str, Parameter(help="Id of the key, key_….")]
Issued = Annotated[
    bool,
    Parameter(
        help="Also end the end-user tokens and upload tokens that the key issued, and disable its webhooks.",
        negative="",
    ),
]
Overlap = Annotated[
    str, Parameter(help="How long the old key continues to work: 24h, 30m; 0 ends it at once.")
]

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Names of fields in the API's messages, and the flags of this command for them.
_FLAGS = {
    "`name`": "--name", "`scopes`": "--scopes", "`expires_at`": "--expires", "`end_user_id`": "--end-user",
    "`overlap_seconds`": "--overlap in seconds",
}  # fmt: skip


class NewKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A new key. `key` is the secret, which no other output shows."""

    key: str
    id: str
    project_id: str
    mode: str
    scopes: list[str] | None
    end_user_id: str | None = None
    expires_at: str | None = None
    replaced_id: str | None = None
    replaced_works_until: str | None = None


def create(
    *,
    mode: Mode = "test",
    project: Project = None,
    scopes: Scopes = None,
    end_user: EndUser = None,
    expires: Expires = None,
    name: KeyName = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Make a key and print it; it is shown only once. Into a pipe it prints JSON, as with --json.

    For example:

        lapel keys create --mode live
        lapel keys create --scopes recordings:read,devices:read --expires 90d
        LAPEL_KEY=$(lapel keys create --data-dir /srv/lapel | jq -r .key)
    """
    wanted = [each.strip() for each in scopes.split(",") if each.strip()] if scopes is not None else None
    if wanted == []:
        raise CommandError("--scopes names no scope; leave it out for a secret key, which has all of them.")
    if end_user is not None and wanted is None:
        raise CommandError("--end-user makes a restricted key: name its --scopes, such as recordings:read.")

    async def work(ports: Ports) -> CreatedApiKey:
        await warn_of_other_secrets(ports)
        with _refusals_of_flags():
            return await OperatorKeys(ports).create(
                mode=mode, project_id=project, scopes=wanted, end_user_id=end_user, name=name,
                expires_at=_end(expires, ports.clock.now()) if expires else None,
            )  # fmt: skip

    made = _new(with_ports(settings_of(data_dir), work))
    emit(made, json or is_piped(), lambda: _shown(made))


def list_(*, project: Project = None, data_dir: DataDir = None, json: Json = False) -> None:
    """List all keys, including ended ones; secrets are never shown.

    For example:

        lapel keys list
        lapel keys list --project proj_… --json
    """

    async def work(ports: Ports) -> list[ApiKey]:
        await warn_of_other_secrets(ports)
        return [key async for key in OperatorKeys(ports).list(project)]

    found = with_ports(settings_of(data_dir), work)
    rows = [
        (key.id, key.hint, key.mode, key.kind, _state(key), key.last_used_at or "never", key.name or "")
        for key in found
    ]
    head = ("ID", "KEY", "MODE", "KIND", "STATE", "LAST USED", "NAME")
    emit({"data": found}, json, lambda: table(head, rows))


def revoke(key_id: KeyId, /, *, issued: Issued = False, data_dir: DataDir = None, json: Json = False) -> None:
    """Revoke a key: when this command returns, every server refuses the key.

    For example:

        lapel keys revoke key_…
        lapel keys revoke key_… --issued
        lapel keys revoke key_… --data-dir /srv/lapel --json
    """

    # Imports all slices.
    from lapel.app import open_services  # noqa: PLC0415
    from lapel.slices.projects.service import Keys  # noqa: PLC0415

    async def work(ports: Ports) -> None:
        with _unknown_keys():
            hooks = open_services(ports)[Keys].on_revoke_issued if issued else None
            await OperatorKeys(ports).revoke(key_id, issued=hooks)

    revoking(settings_of(data_dir), work)
    emit({"id": key_id, "revoked": True}, json, lambda: f"{key_id} is revoked.")


def rotate(
    key_id: KeyId, /, *, overlap: Overlap = "24h", data_dir: DataDir = None, json: Json = False
) -> None:
    """Replace a key by a new one; both work during the overlap. Into a pipe it prints JSON.

    For example:

        lapel keys rotate key_…
        lapel keys rotate key_… --overlap 0 --json
    """
    seconds = int(_seconds(overlap))

    async def work(ports: Ports) -> RotatedApiKey:
        await warn_of_other_secrets(ports)
        with _refusals_of_flags(), _unknown_keys():
            return await OperatorKeys(ports).rotate(key_id, seconds)

    rotated = revoking(settings_of(data_dir), work)
    made = _new(rotated, rotated.replaced_id, rotated.replaced_works_until)
    emit(made, json or is_piped(), lambda: _shown(made))


@contextlib.contextmanager
def _refusals_of_flags() -> Generator[None]:
    """Turns InvalidRequest into CommandError, whose message names flags instead of fields of the API."""
    try:
        yield
    except InvalidRequest as fault:
        sentence = fault.message
        for field, flag in _FLAGS.items():
            sentence = sentence.replace(field, flag)
        raise CommandError(sentence) from fault


@contextlib.contextmanager
def _unknown_keys() -> Generator[None]:
    """Turns NotFound into CommandError without the id: people often pass the secret key by mistake."""
    try:
        yield
    except NotFound as fault:
        raise CommandError("There is no key with this id. `lapel keys list` shows them.") from fault


def _new(key: CreatedApiKey, replaced: str | None = None, until: str | None = None) -> NewKey:
    scopes: list[str] = list(key.scopes)
    return NewKey(
        key.key, key.id, key.project_id, key.mode, scopes, key.end_user_id, key.expires_at, replaced, until
    )


def _shown(made: NewKey) -> str:
    lines = [
        f"Key      {made.key}   (shown this once)",
        f"Id       {made.id}",
        f"Project  {made.project_id}, {made.mode}",
        f"Scopes   {', '.join(made.scopes or [])}",
    ]
    if made.end_user_id:
        lines.append(f"Only     {made.end_user_id}")
    if made.expires_at:
        lines.append(f"Until    {made.expires_at}")
    if made.replaced_id:
        lines.append(f"Replaces {made.replaced_id}, which works until {made.replaced_works_until}")
    return "\n".join(lines)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at}"
    return f"until {key.expires_at}" if key.expires_at else "active"


def _seconds(text: str) -> float:
    if text == "0":
        return 0
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"{text!r} is not a duration; write it as 90d, 12h, 30m or 45s.")
    return int(found[1]) * _UNITS[found[2]]


def _end(text: str, now: datetime) -> datetime:
    """The end that the text names: a point in time, or a duration from `now` such as 90d.

    Raises CommandError when the text is neither, and what `moment` raises.
    """
    if _DURATION.fullmatch(text):
        return now + timedelta(seconds=_seconds(text))
    return moment("--expires", text, "90d or 2027-01-31T12:00:00Z")
