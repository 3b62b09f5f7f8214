"""`lapel providers list|set|remove|test`: sets the engine that answers a provider name."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter
from rich.console import Group

from lapel.cli.providers.language_sample import TestedModel, language_tested, model_told
from lapel.cli.providers.speech_sample import Tested, speech_tested, told
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, table
from lapel.foundation.core.errors import InvalidRequest
from lapel.slices.language_models.service import ModelAway, ModelFailed
from lapel.slices.providers.choice import LANGUAGE_ENGINES, LANGUAGE_SLOTS, SLOTS, SPEECH_ENGINES
from lapel.slices.providers.provider_failures import ProviderAway, ProviderFailed
from lapel.slices.providers.slots.operator import OperatorProviders, SlotShown, Wanted
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

T = TypeVar("T")
_MOST_KEY_FILE = 8192
# Names of fields in the rules, and the flags of this command for them.
_FLAGS = {
    "engine": "--engine", "model": "--model", "base_url": "--base-url", "key": "--key-file or --key-env",
    "region": "--region", "allow_training": "--allow-training",
    "context_tokens": "--context-tokens", "input_price": "--input-price", "output_price": "--output-price",
    "cached_price": "--cached-price", "cache_write_price": "--cache-write-price",
}  # fmt: skip

Slot = Annotated[str, Parameter(help=f"The name that clients ask for: {', '.join(SLOTS)}.")]
Mode = Annotated[Literal["test", "live"], Parameter(help="The world of the project: test or live.")]
Project = Annotated[str | None, Parameter(help="Id of the project. Default: the only one there is.")]
Engine = Annotated[
    str | None,
    Parameter(
        help=f"Engine of a name for speech: {', '.join(SPEECH_ENGINES)}. Of a name for language models: "
        f"{', '.join(LANGUAGE_ENGINES)}. Default: the present engine, else the one of the name's maker."
    ),
]
Model = Annotated[str | None, Parameter(help="Model to request. Default: the engine's usual one.")]
BaseUrl = Annotated[
    str | None,
    Parameter(
        help="Base URL of the service, https:// (or http:// in a network of LAPEL_OUTBOUND_NETWORKS). "
        "Default: the vendor's."
    ),
]
Region = Annotated[
    str | None,
    Parameter(
        help="Region in which the service keeps and processes what it is sent: eu, or another one of "
        "the engine's regions; global leaves it to the service."
    ),
]
AllowTraining = Annotated[
    bool | None,
    Parameter(help="Whether Deepgram may keep the audio and train on it. Default: no."),
]
ContextTokens = Annotated[
    int | None,
    Parameter(
        help="Window of a language model: tokens of input and output together. Default: the usual one."
    ),
]
InputPrice = Annotated[
    Decimal | None,
    Parameter(help="US dollars for a million tokens of input, to record the cost of a language model."),
]
CachedPrice = Annotated[
    Decimal | None,
    Parameter(
        help="US dollars for a million tokens of input that the service had kept. Default: that of input."
    ),
]
CacheWritePrice = Annotated[
    Decimal | None,
    Parameter(
        help="US dollars for a million tokens of input that the service begins to keep. Default: that of "
        "input."
    ),
]
OutputPrice = Annotated[Decimal | None, Parameter(help="US dollars for a million tokens of output.")]
KeyFile = Annotated[
    str | None,
    Parameter(help="File that holds the key; `-` is standard input.", allow_leading_hyphen=True),
]
KeyEnv = Annotated[str | None, Parameter(help="Name of an environment variable that holds the key.")]
Language = Annotated[str | None, Parameter(help="The language that is spoken. Default: detected.")]


def list_(
    *, project: Project = None, mode: Mode = "test", data_dir: DataDir = None, json: Json = False
) -> None:
    """List the engine of each provider name. Of a key, only the last four characters are shown.

    For example:

        lapel providers list
        lapel providers list --mode live --json
    """
    found = _with(data_dir, project, mode, lambda _, slots: slots.list())
    emit({"data": found}, json, lambda: _lines(found))


def set_(  # noqa: PLR0913  # each is a flag
    slot: Slot,
    /,
    *,
    engine: Engine = None,
    model: Model = None,
    base_url: BaseUrl = None,
    region: Region = None,
    allow_training: AllowTraining = None,
    context_tokens: ContextTokens = None,
    input_price: InputPrice = None,
    cached_price: CachedPrice = None,
    cache_write_price: CacheWritePrice = None,
    output_price: OutputPrice = None,
    key_file: KeyFile = None,
    key_env: KeyEnv = None,
    project: Project = None,
    mode: Mode = "test",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Set the engine that answers a provider name. Options that are left out keep their value.

    For example:

        lapel providers set deepgram --region eu --key-file deepgram.key
        lapel providers set assemblyai --key-env ASSEMBLYAI_API_KEY --mode live
        pass show elevenlabs | lapel providers set elevenlabs --key-file - --json
        lapel providers set whisper --engine openai --base-url https://…/v1
    """
    wanted = Wanted(
        engine=engine, model=model, base_url=base_url, region=region, allow_training=allow_training,
        context_tokens=context_tokens, input_price=input_price, output_price=output_price,
        cached_price=cached_price, cache_write_price=cache_write_price,
        key=_key(key_file, key_env),
    )  # fmt: skip
    made = _with(data_dir, project, mode, lambda _, slots: slots.set(slot, wanted))
    emit(made, json, lambda: _lines([made]))


def remove(
    slot: Slot,
    /,
    *,
    project: Project = None,
    mode: Mode = "test",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Reset a provider name to the local engine, and delete its key.

    For example:

        lapel providers remove deepgram
        lapel providers remove whisper --mode live --json
    """
    left = _with(data_dir, project, mode, lambda _, slots: slots.remove(slot))
    emit(left, json, lambda: _lines([left]))


def try_(
    slot: Slot,
    /,
    *,
    language: Language = None,
    project: Project = None,
    mode: Mode = "test",
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Send a sample to the engine set for a provider name, and print what it answers.

    A name for speech gets 25 s of a public audiobook to transcribe; a name for language models gets a
    question about two sentences. If no engine is set for the name, the engine is `local`.

    For example:

        lapel providers test deepgram
        lapel providers test whisper --language en --json
        lapel providers test claude
    """

    async def work(ports: Ports, slots: OperatorProviders) -> Tested | TestedModel:
        choice = await slots.choice(slot)
        if choice.slot in LANGUAGE_SLOTS:
            return await language_tested(ports, choice)
        return await speech_tested(ports, choice, language)

    tested = _with(data_dir, project, mode, work)
    emit(tested, json, lambda: told(tested) if isinstance(tested, Tested) else model_told(tested))


def _with(
    data_dir: Path | None,
    project: str | None,
    mode: Literal["test", "live"],
    work: Callable[[Ports, OperatorProviders], Awaitable[T]],
) -> T:
    """Runs `work`. Raises CommandError when Lapel or the service refuses; the message names the flag."""

    async def run(ports: Ports) -> T:
        try:
            return await work(ports, OperatorProviders(ports, mode=mode, project_id=project))
        except InvalidRequest as fault:
            flag = _FLAGS.get(fault.param or "")
            raise CommandError(f"{flag}: {fault.message}" if flag else fault.message) from fault
        except (ModelAway, ModelFailed, ProviderAway, ProviderFailed, SpeechError, TryAgain) as fault:
            raise CommandError(fault.message) from fault

    return with_ports(settings_of(data_dir), run)


def _key(file: str | None, variable: str | None) -> str | None:
    """The key, from a file, standard input or an environment variable; None when none of these is named.

    The key is never an argument, because other users can read command lines. Raises CommandError when both a
    file and a variable are named, or when the source that is named is empty or cannot be read.
    """
    if file is not None and variable is not None:
        raise CommandError("give --key-file or --key-env, not both.")
    if variable is not None:
        text = os.environ.get(variable, "")
        if not text.strip():
            raise CommandError(f"--key-env: there is no variable {variable}, or it is empty.")
        return text.strip()
    if file is None:
        return None
    try:
        text = _standard_input() if file == "-" else _beginning(Path(file))
    except OSError as fault:
        raise CommandError(f"--key-file {file} cannot be read: {fault.strerror}.") from fault
    if not text.strip():
        raise CommandError("--key-file: it is empty.")
    return text.strip()


def _standard_input() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Key: ")
    return sys.stdin.buffer.read(_MOST_KEY_FILE).decode(errors="replace")


def _beginning(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(_MOST_KEY_FILE).decode(errors="replace")


def _lines(found: list[SlotShown]) -> Group:
    rows = [
        (each.slot, each.engine, each.model or "", each.region or each.base_url or "", each.key or "")
        for each in found
    ]
    world = f"{found[0].project_id}, {found[0].mode}"
    return Group(table(("SLOT", "ENGINE", "MODEL", "WHERE", "KEY"), rows), "", world)
