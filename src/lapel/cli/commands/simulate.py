"""`lapel simulate`: runs a fleet of devices against a server, and checks the server's promises."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import signal
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import uvloop
from cyclopts import Parameter
from rich.console import Console

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, say
from lapel.cli.shared.server import Key, Project, ServerAccess, Url, reach, server_access
from lapel.simulate.backend import SCOPES
from lapel.simulate.client.caller import SimulationError
from lapel.simulate.dashboard import watch
from lapel.simulate.fleet import Fleet
from lapel.simulate.plan import NOTHING, FleetPlan, Rates
from lapel.simulate.report import FleetReport, shown_of
from lapel.simulate.sealing.sealing_device import Provisioning
from lapel.simulate.sealing.signed_documents import public_keys
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from lapel.slices.projects.service import Projects

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

PublicKeysGiven = Annotated[
    str | None,
    Parameter(
        help="For --encrypted: the project's public keys, NUMBER:HEX, with commas between them. "
        "Default: those of the data folder."
    ),
]
Environment = Annotated[
    int,
    Parameter(
        env_var="LAPEL_ENCRYPTED_UPLOAD_ENVIRONMENT",
        help="Environment for which devices that encrypt were made: 0, 1 or 2, as the server's setting says.",
    ),
]
_POINT = re.compile(r"[0-9a-fA-F]{128}")
_AFTERWARDS = timedelta(hours=1)  # for comparing and removing at the end


def simulate(  # noqa: PLR0913 - a flag each
    *,
    devices: Annotated[int, Parameter(help="Number of devices.")] = 20,
    minutes: Annotated[float, Parameter(help="How long the fleet runs, in real time.")] = 1,
    url: Url = None,
    key: Key = None,
    project: Project = None,
    interval: Annotated[float, Parameter(help="Seconds between two heartbeats of a device.")] = 60,
    speed: Annotated[
        float, Parameter(help="Speed of the devices' own time, as a multiple of real time.")
    ] = 1,
    drop: Annotated[
        float,
        Parameter(help="Share of all answers that get lost, 0 to 0.9: the connection ends at a random byte."),
    ] = 0,
    only_heartbeats: Annotated[
        bool, Parameter(negative=(), help="Send only heartbeats; for large fleets.")
    ] = False,
    encrypted: Annotated[
        bool, Parameter(negative=(), help="Devices encrypt their recordings before the upload.")
    ] = False,
    signing_key: PublicKeysGiven = None,
    environment: Environment = 2,
    updates: Annotated[float, Parameter(help="Share of the devices that is offered new firmware.")] = 0.3,
    connections: Annotated[int, Parameter(help="Maximum number of calls under way at once.")] = 64,
    seed: Annotated[int | None, Parameter(help="Seed that repeats the random choices.")] = None,
    keep: Annotated[bool, Parameter(negative=(), help="Keep devices and recordings at the end.")] = False,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Run a fleet of simulated devices against a server, and check that the server keeps its promises.

    The devices register, bind, send heartbeats, record and upload real speech, take commands and firmware,
    refresh their tokens, are bound to other end users, go offline, and repeat calls that got no answer. At
    the end the command compares what the server shows with what it promised. Status 1 when something is
    missing or stored twice.

    With --encrypted, devices encrypt what they record, phones upload it and crash now and then, and a device
    deletes its copy only when it has verified the server's receipt.

    For example:

        lapel simulate
        lapel simulate --devices 200 --minutes 5 --drop 0.1
        lapel simulate --devices 50 --minutes 1 --speed 20 --seed 7 --json
        lapel simulate --encrypted --devices 10 --speed 60 --drop 0.1
        lapel simulate --devices 100000 --only-heartbeats --connections 128
        LAPEL_KEY=sk_test_… lapel simulate --url https://api.example.com --keep
    """
    if signing_key is not None and not encrypted:
        raise CommandError("--signing-key is for devices that encrypt: add --encrypted.")
    if encrypted and only_heartbeats:
        raise CommandError("with --only-heartbeats devices upload nothing: leave out --encrypted.")
    given = None if signing_key is None else _points(signing_key)
    if encrypted and url and given is None:
        raise CommandError(
            "devices that encrypt must know the keys that sign for them: give them with --signing-key, as "
            "`lapel signing-keys list` shows them on the server's machine."
        )
    plan = FleetPlan(
        devices=devices,
        minutes=minutes,
        run=secrets.token_hex(3),
        seed=secrets.randbits(32) if seed is None else seed,
        interval=interval,
        speed=speed,
        drop=drop,
        updates=0 if only_heartbeats else updates,
        connections=connections,
        rates=NOTHING if only_heartbeats else Rates(),
        keep=keep,
    )
    _check(plan, environment)
    try:
        with server_access(
            url,
            key,
            project,
            data_dir,
            scopes=SCOPES,
            name=f"lapel simulate {plan.run}",
            lives=timedelta(minutes=plan.minutes) + _AFTERWARDS,
        ) as access:
            reach(access.base_url())
            provisioning: Provisioning | None = None
            if encrypted:
                points = _keys_of_folder(project, data_dir) if given is None else given
                provisioning = Provisioning(public_keys(points), environment)
            report = _run(plan, access, provisioning, quiet=json)
    except SimulationError as fault:
        raise CommandError(str(fault)) from fault
    emit(report, json, lambda: shown_of(report))
    if not report.is_kept:
        raise SystemExit(1)


def _keys_of_folder(project: str | None, data_dir: Path | None) -> dict[int, bytes]:
    """The public keys of the project, by their numbers. A project without a key gets its first one."""

    async def work(ports: Ports) -> dict[int, bytes]:
        project_id, keys = await Projects(ports).named(project), SigningKeys(ports)
        async with ports.database.transaction() as connection:
            await keys.active(connection, project_id)
            return {row.key_id: row.public_key for row in await keys.list(connection, project_id)}

    return with_ports(settings_of(data_dir), work)


def _check(plan: FleetPlan, environment: int) -> None:
    for flag, value, least, most in (
        ("--devices", plan.devices, 1, 1_000_000),
        ("--minutes", plan.minutes, 0.01, 7 * 24 * 60),
        ("--interval", plan.interval, 0.1, 86_400),
        ("--speed", plan.speed, 0.01, 1000),
        ("--drop", plan.drop, 0, 0.9),
        ("--updates", plan.updates, 0, 1),
        ("--connections", plan.connections, 1, 4096),
        ("--environment", environment, 0, 2),
    ):
        if not least <= value <= most:
            raise CommandError(f"{flag} {value:g} is not between {least:g} and {most:g}.")


def _points(text: str) -> dict[int, bytes]:
    """The public keys (x and y) of --signing-key, by their numbers. Raises CommandError for other texts."""
    points: dict[int, bytes] = {}
    for each in text.split(","):
        number, _, point = each.strip().partition(":")
        if not (number.isascii() and number.isdecimal() and _POINT.fullmatch(point)):
            raise CommandError(f"--signing-key {each!r} is not a number, a colon and 128 hexadecimal digits.")
        if int(number) in points:
            raise CommandError(f"--signing-key names the key {int(number)} twice.")
        points[int(number)] = bytes.fromhex(point)
    try:
        public_keys(points)
    except ValueError:
        raise CommandError("--signing-key has a key that is no public key of P-256.") from None
    return points


def _run(
    plan: FleetPlan, access: ServerAccess, provisioning: Provisioning | None, *, quiet: bool
) -> FleetReport:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_simulate(plan, access, provisioning, quiet=quiet))


async def _simulate(
    plan: FleetPlan, access: ServerAccess, provisioning: Provisioning | None, *, quiet: bool
) -> FleetReport:
    stop = asyncio.Event()
    base_url = access.base_url()
    fleet = Fleet(plan, base_url, access.key, stop, provisioning)
    main = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        """The first Ctrl-C ends the run, the second cancels the report, the third cancels the removal."""
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    console = Console(stderr=True)
    watching: asyncio.Task[None] | None = None
    if console.is_terminal and not quiet:
        watching = asyncio.create_task(watch(fleet, console))
    elif not quiet:
        say(f"{plan.devices} devices live for {plan.minutes:g} min against {base_url}")
    try:
        return await fleet.run()
    except asyncio.CancelledError:
        say("ended without a report.")
        raise SystemExit(130) from None
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
