"""`lapel eval`: measures search, answers and summaries with the shipped conversations and questions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lapel.cli.evaluate.chosen_set import ChosenHalf, ChosenSet, Part, chosen, claims_of, shipped_set
from lapel.cli.evaluate.evaluation_client import CallRefused
from lapel.cli.evaluate.evaluation_run import EvaluatedServer, Evaluation, Told, run_evaluation
from lapel.cli.evaluate.figures_shown import shown
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.cli.shared.own_server import end_on_sigterm, own_server, temporary_folder
from lapel.evaluation.reading import EvaluationSetInvalid
from lapel.foundation import telemetry
from lapel.foundation.core.errors import NotFound
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolder
from lapel.settings import Settings
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.service import find_world
from lapel.slices.providers.choice import SlotChoice
from lapel.slices.providers.provider_failures import ProviderFailed
from lapel.slices.providers.slots.operator import OperatorProviders, Wanted

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.service import LanguageSlot

AskedSlot = Literal["gemini", "openai", "claude", "local"]
# The settings that say where an installation is, and how it is reached: the evaluation has its own.
_OF_AN_INSTALLATION = (
    "DATA_DIR", "HOST", "PORT", "ROLE", "API_PROCESSES", "TLS_", "PUBLIC_URL", "STORE_", "DATABASE_URL",
    "LISTEN_DATABASE_URL", "S3_", "SECRET", "METRICS_TOKEN", "RATE_", "LANGUAGE_TOKENS_PER_DAY",
)  # fmt: skip
# It asks more than a project may ask in a day.
_WITHOUT_LIMITS = {"LAPEL_RATE_LIMITS": "off", "LAPEL_LANGUAGE_TOKENS_PER_DAY": "0"}


def evaluate(  # noqa: PLR0913 - each is a flag
    *,
    slot: Annotated[
        AskedSlot,
        Parameter(
            help="The name of the language model. Its engine and key are those of the installation; local: "
            "the engine that needs no service."
        ),
    ] = "local",
    only: Annotated[Part | None, Parameter(help="Only this part. Default: all parts.")] = None,
    half: Annotated[
        ChosenHalf,
        Parameter(help="The half of the questions: thresholds are chosen on `choose`; quote `judge`."),
    ] = "all",
    limit: Annotated[
        int | None,
        Parameter(
            help="At most so many questions, summaries, attacks and claims, with the mixture of the whole "
            "set.",
            validator=validators.Number(gte=1),
        ),
    ] = None,
    claims: Annotated[
        Path | None,
        Parameter(
            help="A file of your own claims: only they are judged. A JSON list of objects with `claim`, "
            "`passage` and `supported`; see docs/evaluation.md."
        ),
    ] = None,
    second_reader: Annotated[
        bool | None,
        Parameter(
            help="Whether the language model also reads each sentence of an answer, and each claim, again. "
            "Default: as Ask does: a model at a service reads, the local model does not.",
        ),
    ] = None,
    concurrency: Annotated[
        int, Parameter(help="Calls at once.", validator=validators.Number(gte=1, lte=64))
    ] = 1,
    project: Annotated[
        str | None, Parameter(help="Id of the project whose engine answers the name, if there are several.")
    ] = None,
    mode: Annotated[
        Literal["test", "live"], Parameter(help="The world of the project: test or live.")
    ] = "test",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Measure search, answers, summaries, planted attacks and judged claims with shipped conversations.

    The command starts a server of its own in a temporary folder, stores the conversations in it, and removes
    it at the end. The installation is only asked for the engine of the name.

    For example:

        lapel eval
        lapel eval --only search --json
        lapel eval --claims my-claims.json
        lapel eval --only claims --slot claude --no-second-reader
        lapel eval --slot claude --half judge --limit 60 --concurrency 8
    """
    end_on_sigterm()
    asked: LanguageSlot | None = None if slot == "local" else slot
    choice = None if asked is None else _choice(asked, project, mode, data_dir)
    if claims is not None:
        only = "claims"
    set_ = chosen(shipped_set() if claims is None else _own_set(claims), only, half, limit)
    environment = environment_of(os.environ)
    with temporary_folder("lapel-eval-") as folder, _progress() as told:
        told("starting a server", 0, 1)
        with own_server(folder, environment) as server:
            settings = Settings.from_env(environment, data_dir=folder, role="all")
            telemetry.configure("warning", settings.log_format, "command")

            async def work(ports: Ports) -> Evaluation:
                prepared = await _prepared(ports, server.base_url, choice, asked)
                prepared = msgspec.structs.replace(
                    prepared, second_reader=second_reader, concurrency=concurrency
                )
                return await run_evaluation(prepared, set_, only, told)

            try:
                found = with_ports(settings, work)
            except CallRefused as refused:
                raise CommandError(f"the server refused a call, {refused}") from refused
    emit(found, json, lambda: shown(found, choice))


def _own_set(path: Path) -> ChosenSet:
    try:
        return claims_of(path)
    except EvaluationSetInvalid as invalid:
        raise CommandError(f"{invalid}. Each claim has claim, passage and supported.") from invalid
    except OSError as fault:
        raise CommandError(f"cannot read {path}: {fault.strerror}") from fault


def environment_of(own: Mapping[str, str]) -> dict[str, str]:
    """The variables of the evaluation's own server: ours, without those that belong to an installation."""
    prefixes = tuple(f"LAPEL_{each}" for each in _OF_AN_INSTALLATION)
    return {name: value for name, value in own.items() if not name.startswith(prefixes)} | _WITHOUT_LIMITS


async def _prepared(
    ports: Ports, base_url: str, choice: SlotChoice | None, slot: LanguageSlot | None
) -> EvaluatedServer:
    """A key for the new server, whose world has the engine of the choice."""
    from lapel.app import open_services  # noqa: PLC0415  # imports all slices

    key = await OperatorKeys(ports).create(mode="test", name="lapel eval")
    if choice is not None and choice.engine != "local":
        wanted = Wanted(
            engine=choice.engine,
            model=choice.model,
            base_url=choice.base_url,
            context_tokens=choice.context_tokens,
            input_price=choice.input_price,
            cached_price=choice.cached_price,
            cache_write_price=choice.cache_write_price,
            output_price=choice.output_price,
            key=choice.key,
        )
        await OperatorProviders(ports, mode="test").set(choice.slot, wanted)
    async with ports.database.acquire() as connection:
        world_id = await find_world(connection, key.project_id, "test")
    if world_id is None:
        raise CommandError("the server of the evaluation has no world.")
    return EvaluatedServer(
        base_url=base_url,
        key=key.key,
        services=open_services(ports),
        world_id=world_id,
        slot=slot,
    )


def _choice(
    slot: LanguageSlot, project: str | None, mode: Literal["test", "live"], data_dir: Path | None
) -> SlotChoice | None:
    """The engine of a name in the installation; None if there is no installation."""
    settings = settings_of(data_dir)
    if prepare.needs_folder(settings) and DataFolder(settings.data_dir).version() is None:
        return None

    async def work(ports: Ports) -> SlotChoice | None:
        try:
            return await OperatorProviders(ports, mode=mode, project_id=project).choice(slot)
        except NotFound:
            if project is not None:
                raise
            return None  # there is no project yet
        except ProviderFailed as fault:
            raise CommandError(fault.message) from fault

    return with_ports(settings, work)


@contextlib.contextmanager
def _progress() -> Generator[Told]:
    """Shows how far the run is, on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _quiet
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1)

        def told(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        yield told


def _quiet(what: str, done: int, total: int) -> None:
    """Nobody looks at the progress."""
    del what, done, total
