"""`lapel simulate`: runs a fleet of devices against a server, and checks the server's promises."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from datetime import timedelta
from typing import Annotated

import uvloop
from cyclopts import Parameter
from rich.console import Console

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.options import DataDir, Json, emit, say
from lapel.cli.shared.server import Key, Project, Url, reach, server_access
from lapel.simulate.backend import SCOPES
from lapel.simulate.client.caller import SimulationError
from lapel.simulate.dashboard import watch
from lapel.simulate.fleet import Fleet
from lapel.simulate.plan import NOTHING, FleetPlan, Rates
from lapel.simulate.report import FleetReport, shown_of

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

    For example:

        lapel simulate
        lapel simulate --devices 200 --minutes 5 --drop 0.1
        lapel simulate --devices 50 --minutes 1 --speed 20 --seed 7 --json
        lapel simulate --devices 100000 --only-heartbeats --connections 128
        LAPEL_KEY=sk_test_… lapel simulate --url https://api.example.com --keep
    """
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
    _check(plan)
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
            report = _run(plan, access.base_url(), access.key, quiet=json)
    except SimulationError as fault:
        raise CommandError(str(fault)) from fault
    emit(report, json, lambda: shown_of(report))
    if not report.is_kept:
        raise SystemExit(1)


def _check(plan: FleetPlan) -> None:
    for flag, value, least, most in (
        ("--devices", plan.devices, 1, 1_000_000),
        ("--minutes", plan.minutes, 0.01, 7 * 24 * 60),
        ("--interval", plan.interval, 0.1, 86_400),
        ("--speed", plan.speed, 0.01, 1000),
        ("--drop", plan.drop, 0, 0.9),
        ("--updates", plan.updates, 0, 1),
        ("--connections", plan.connections, 1, 4096),
    ):
        if not least <= value <= most:
            raise CommandError(f"{flag} {value:g} is not between {least:g} and {most:g}.")


def _run(plan: FleetPlan, base_url: str, key: str, *, quiet: bool) -> FleetReport:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_simulate(plan, base_url, key, quiet=quiet))


async def _simulate(plan: FleetPlan, base_url: str, key: str, *, quiet: bool) -> FleetReport:
    stop = asyncio.Event()
    fleet = Fleet(plan, base_url, key, stop)
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
