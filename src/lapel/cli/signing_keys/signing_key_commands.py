"""`lapel signing-keys list|prepare|rotate`. The server may be running or stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lapel.cli.doctor.secret_checks import warn_of_other_secrets
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, table
from lapel.slices.encrypted_uploads.signing.operator import OperatorSigningKeys, SigningKeyShown

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

OfProject = Annotated[str | None, Parameter(help="Id of the project. Default: all projects.")]
Project = Annotated[str | None, Parameter(help="Id of the project. Default: the only one there is.")]
Pem = Annotated[bool, Parameter(name="--pem", negative=(), help="Print the public keys as PEM.")]


def list_(
    *, project: OfProject = None, pem: Pem = False, data_dir: DataDir = None, json: Json = False
) -> None:
    """List the keys that sign for devices, retired ones too. Private keys are never shown.

    For example:

        lapel signing-keys list
        lapel signing-keys list --project proj_… --pem
        lapel signing-keys list --json | jq -r '.data[].public_key'
    """

    async def work(ports: Ports) -> list[SigningKeyShown]:
        return await OperatorSigningKeys(ports, project_id=project).list()

    _check_form(pem=pem, json=json)
    found = with_ports(settings_of(data_dir), work)
    head = ("PROJECT", "KEY", "STATE", "SINCE", "PUBLIC KEY")
    rows = [(key.project_id, str(key.key_id), _state(key), _since(key), key.public_key) for key in found]
    emit({"data": found}, json, lambda: _pem(found) if pem else table(head, rows))


def prepare(
    *, project: Project = None, pem: Pem = False, data_dir: DataDir = None, json: Json = False
) -> None:
    """Make the key that signs after the next rotation, so that devices can learn it before.

    If there is such a key, it stays. The first key of a project signs at once.

    For example:

        lapel signing-keys prepare
        lapel signing-keys prepare --project proj_… --pem
    """

    async def work(ports: Ports) -> SigningKeyShown:
        await warn_of_other_secrets(ports)
        return await OperatorSigningKeys(ports, project_id=project).prepare()

    _check_form(pem=pem, json=json)
    made = with_ports(settings_of(data_dir), work)
    when = "signs after the next rotation" if made.state == "prepared" else "signs from now on"
    emit(made, json, lambda: _pem([made]) if pem else _told(made, when))


def rotate(
    *, project: Project = None, pem: Pem = False, data_dir: DataDir = None, json: Json = False
) -> None:
    """Retire the key that signs for devices. The prepared key signs then, or else a new one.

    Devices that do not have the new public key accept no document any more: prepare
    the key, give it to the devices, and rotate then.

    For example:

        lapel signing-keys rotate
        lapel signing-keys rotate --project proj_… --json
    """

    async def work(ports: Ports) -> SigningKeyShown:
        await warn_of_other_secrets(ports)
        return await OperatorSigningKeys(ports, project_id=project).rotate()

    _check_form(pem=pem, json=json)
    made = with_ports(settings_of(data_dir), work)
    emit(made, json, lambda: _pem([made]) if pem else _told(made, "signs from now on"))


def _check_form(*, pem: bool, json: bool) -> None:
    """Raises CommandError when two forms of the output are named."""
    if pem and json:
        raise CommandError("give --pem or --json, not both; the JSON has the keys as PEM, too.")


def _state(key: SigningKeyShown) -> str:
    return f"{key.state}, unreadable" if key.readable is False else key.state


def _since(key: SigningKeyShown) -> str:
    return key.retired_at or key.activated_at or key.created_at


def _told(key: SigningKeyShown, when: str) -> str:
    return f"Key {key.key_id} of {key.project_id} {when}.\nPublic key  {key.public_key}"


def _pem(keys: list[SigningKeyShown]) -> str:
    """Every key as PEM, each after a line that names it. Readers of PEM skip such lines."""
    return "".join(
        f"# key {key.key_id} of {key.project_id}, {key.state}\n{key.public_key_pem}" for key in keys
    )
