"""`lapel demo`: starts its own server and runs the main job on real speech, step by step."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from lapel.cli.demo.demo_calls import DemoError, DemoStep
from lapel.cli.demo.demo_job import DemoOutcome, HeardSpeech, MainJob
from lapel.cli.demo.receiver import receiver
from lapel.cli.demo.understanding import Understanding, place
from lapel.cli.shared.options import Json, emit
from lapel.cli.shared.own_server import (
    LAPEL,
    NotServed,
    OwnServer,
    end_on_sigterm,
    own_server,
    temporary_folder,
)
from lapel.sample import speech
from lapel.slices.language_models.service import EXTRACTIVE

# Webhooks reach only public addresses unless a setting names others, and the receiver is on this machine.
# A language model needs seconds to start. A user who wants to see it sets the variable.
VARIABLES = {
    "LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8",
    "LAPEL_LANGUAGE_MODEL": os.environ.get("LAPEL_LANGUAGE_MODEL", "extractive"),
}


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: where the server ran, every step with its milliseconds, and the outcome."""

    base_url: str
    data_dir: str
    steps: list[DemoStep]
    outcome: DemoOutcome


class _Key(msgspec.Struct):
    key: str


def demo(
    *,
    data_dir: Annotated[
        Path | None,
        Parameter(help="Folder for the data. Default: a temporary folder that is removed at the end."),
    ] = None,
    keep: Annotated[
        bool, Parameter(negative=(), help="Keep the server running after the demo, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Start a server, then upload, transcribe and summarize one real recording, and ask about it.

    The recording is also downloaded again, and its event is received. The command prints each step with its
    time, and with the shell commands that do the same. Without a transcript or a summary the command ends
    with 1, and says why.

    For example:

        lapel demo
        lapel demo --keep
        lapel demo --data-dir ./demo-data --json
    """
    end_on_sigterm()
    console = Console()
    steps: list[DemoStep] = []

    def report(step: DemoStep) -> None:
        steps.append(step)
        if not json:
            _show(console, step)

    try:
        with _folder(data_dir) as folder, _server(folder, report) as server:
            base_url = server.base_url
            key = _make_key(folder, report)
            sample = speech()
            with receiver() as taker, _progress() as hear:
                job = MainJob(base_url, key, sample, taker, report, hear)
                outcome = job.run(f"DEMO{secrets.token_hex(4).upper()}")
            if json:
                done = Demo(base_url=base_url, data_dir=str(folder), steps=steps, outcome=outcome)
                emit(done, True, str)
            else:
                _conclude(console, base_url, outcome, keep=keep)
            if keep:
                server.process.wait()
        _check_complete(outcome)
    except (DemoError, NotServed) as fault:
        Console(stderr=True).print(Text(f"lapel demo: {fault}", style="red"), soft_wrap=True)
        raise SystemExit(1) from fault
    except KeyboardInterrupt:
        raise SystemExit(0 if keep else 130) from None


@contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given is not None:
        yield given.absolute()
        return
    with temporary_folder("lapel-demo-") as folder:
        yield folder


@contextmanager
def _server(folder: Path, report: Callable[[DemoStep], None]) -> Generator[OwnServer]:
    """The demo's own server, during the block; its start is reported as a step."""
    start = time.perf_counter()
    with own_server(folder, os.environ | VARIABLES) as server:
        ms = (time.perf_counter() - start) * 1000
        base_url = server.base_url
        served = f"lapel serve --data-dir {folder} --port {urlsplit(base_url).port}"
        shown = " ".join([*(f"{name}={shlex.quote(value)}" for name, value in VARIABLES.items()), served])
        report(DemoStep(name="start the server", ms=ms, commands=[shown, f"export LAPEL_URL={base_url}"]))
        yield server


def _make_key(folder: Path, report: Callable[[DemoStep], None]) -> str:
    start = time.perf_counter()
    command = ["keys", "create", "--data-dir", str(folder), "--mode", "test", "--json"]
    done = subprocess.run([*LAPEL, *command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"make a secret key: {done.stderr.decode(errors='replace').strip()}")
    key = msgspec.json.decode(done.stdout, type=_Key).key
    shown = f"lapel keys create --data-dir {folder} --mode test"
    ms = (time.perf_counter() - start) * 1000
    report(DemoStep(name="make a secret key", ms=ms, commands=[shown, f"export LAPEL_KEY={key}"]))
    return key


def _show(console: Console, step: DemoStep) -> None:
    line = Text.assemble(("✓ ", "green"), (f"{step.name:<52}", "bold"), (f"{step.ms:>9,.1f} ms", "cyan"))
    console.print(line)
    for command in step.commands:
        console.print(Text(f"    {command}", style="dim"), soft_wrap=True)


@contextmanager
def _progress() -> Generator[Callable[[float], None]]:
    """Shows a line with the transcription's progress; shows nothing when stderr is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda done: status.update(f"listening: {done:.0%}")


def _tell_spoken(console: Console, spoken: HeardSpeech) -> None:
    if spoken.failure is not None:
        console.print(Text(f"There is no transcript: {spoken.failure}", style="yellow"), soft_wrap=True)
        console.print("`lapel doctor` says how to repair it; everything else works.", soft_wrap=True)
        return
    console.print(Text(f"“{spoken.text}”", style="italic"))
    facts = [
        f"{spoken.model}, language {spoken.language}",
        f"{len(spoken.speakers)} speaker{'' if len(spoken.speakers) == 1 else 's'}",
        f"word error {spoken.word_error or 0:.1%} against the known text",
        f"{1 / (spoken.real_time_factor or 1):.1f} times as fast as real time, start of the model included",
    ]
    console.print(Text("; ".join(facts)), soft_wrap=True)


def _check_complete(outcome: DemoOutcome) -> None:
    """Raises DemoError when there is no transcript or no summary."""
    if outcome.spoken.failure is not None:
        raise DemoError(
            "the recording was uploaded, but not transcribed. `lapel doctor` says how to repair it."
        )
    if outcome.understood is None or outcome.understood.summary.overview is None:
        raise DemoError("the recording was transcribed, but not summarized; the outcome says why.")


def _tell_understood(console: Console, understood: Understanding) -> None:
    summary, answer = understood.summary, understood.answer
    if summary.overview is None:
        console.print(Text(f"There is no summary: {summary.failure}", style="yellow"), soft_wrap=True)
    else:
        console.print(Text.assemble(("Summary  ", "bold"), summary.overview), soft_wrap=True)
    places = " ".join(map(place, understood.found.seconds))
    found = f"“{understood.found.query}” is found in the passage from {places}"
    console.print(Text.assemble(("Search   ", "bold"), found), soft_wrap=True)
    console.print(Text.assemble(("Question ", "bold"), answer.question), soft_wrap=True)
    console.print(Text.assemble(("Answer   ", "bold"), answer.shown), soft_wrap=True)
    made_by = f"summary by {summary.model}, answer by {answer.model}"
    if EXTRACTIVE in {summary.model, answer.model}:
        made_by += ": sentences of the transcript. docs/language-models.md says how to use a language model"
    console.print(made_by, soft_wrap=True)


def _conclude(console: Console, base_url: str, outcome: DemoOutcome, *, keep: bool) -> None:
    console.print()
    _tell_spoken(console, outcome.spoken)
    console.print()
    if outcome.understood is not None:
        _tell_understood(console, outcome.understood)
        console.print()
    console.print(
        f"{outcome.bytes:,} bytes came back as they went in, SHA-256 {outcome.sha256}", soft_wrap=True
    )
    event = outcome.delivered
    came = f"{event.event_type} {event.event_id} came to the webhook, with a signature that fits its secret:"
    console.print(Text(f"{came}\n  webhook-signature: {event.signature}"), soft_wrap=True)
    if keep:
        links = {"API": f"{base_url}/v1", "docs": f"{base_url}/docs", "link": outcome.download_url}
        for name, url in links.items():
            console.print(Text(f"  {name:<5} {url}"), soft_wrap=True)
        end = "The server keeps running, and the link works for an hour. Ctrl-C stops the server."
    else:
        end = "The server stops now. With --keep it keeps running, for the commands above."
    console.print(end, soft_wrap=True)
