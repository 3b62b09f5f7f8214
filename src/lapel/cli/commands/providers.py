"""`lapel providers list|set|remove|test`: sets the engine that answers a provider name."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from cyclopts import Parameter
from rich.console import Group

from lapel.cli.doctor.speech_models import model_warnings
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, table
from lapel.foundation.core.errors import InvalidRequest
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.sample import speech
from lapel.slices.transcription.copies.remote_copies import delete_copy
from lapel.slices.transcription.providers.choice import ENGINES, SLOTS, SlotChoice
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.slots.operator import OperatorProviders, SlotShown, Wanted
from lapel.slices.transcription.slots.slots import transcriber
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.speech.transcript import Segment

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.transcription.providers.protocol import Transcriber
    from lapel.slices.transcription.speech.messages import Heard

T = TypeVar("T")
_MOST_KEY_FILE = 8192
# Names of fields in the rules, and the flags of this command for them.
_FLAGS = {
    "engine": "--engine", "model": "--model", "base_url": "--base-url", "key": "--key-file or --key-env",
    "region": "--region", "allow_training": "--allow-training",
}  # fmt: skip

Slot = Annotated[str, Parameter(help=f"The name that clients ask for: {', '.join(SLOTS)}.")]
Mode = Annotated[Literal["test", "live"], Parameter(help="The world of the project: test or live.")]
Project = Annotated[str | None, Parameter(help="Id of the project. Default: the only one there is.")]
Engine = Annotated[
    str | None,
    Parameter(
        help=f"Engine: {', '.join(ENGINES)}. Default: the present engine, else the one with the slot's name."
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
        help="Region in which the service keeps and processes the audio: eu, or another one of "
        "the engine's regions; global leaves it to the service."
    ),
]
AllowTraining = Annotated[
    bool | None,
    Parameter(help="Whether Deepgram may keep the audio and train on it. Default: no."),
]
KeyFile = Annotated[
    str | None,
    Parameter(help="File that holds the key; `-` is standard input.", allow_leading_hyphen=True),
]
KeyEnv = Annotated[str | None, Parameter(help="Name of an environment variable that holds the key.")]
Language = Annotated[str | None, Parameter(help="The language that is spoken. Default: detected.")]


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's transcript of the sample. `seconds`: how long it took. `known`: the sample's known text.

    `model`: the model that answered. `warnings`: about the service, such as the day on which it ends a model.
    """

    slot: str
    engine: str
    model: str
    seconds: float
    language: str | None
    language_probability: float | None
    segments: list[Segment]
    known: str
    warnings: list[str]


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
    """Send 25 s of a public audiobook to the engine set for a provider name, and print the transcript.

    If no engine is set for the name, the engine is `local`.

    For example:

        lapel providers test deepgram
        lapel providers test whisper --language en --json
    """

    async def work(ports: Ports, slots: OperatorProviders) -> Tested:
        return await _tested(ports, await slots.choice(slot), language)

    tested = _with(data_dir, project, mode, work)
    emit(tested, json, lambda: _told(tested))


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
        except (SpeechError, TryAgain) as fault:
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


async def _tested(ports: Ports, choice: SlotChoice, language: str | None) -> Tested:
    copies: list[str] = []

    async def remember(copy_id: str) -> None:
        copies.append(copy_id)

    engine = transcriber(
        choice,
        local=_local,
        clock=ports.clock,
        policy=OutboundPolicy.of(ports.settings),
        remember=remember,
    )
    sample, wish, began = speech(), Wish(language=language), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lapel-") as folder:
        pcm = Path(folder) / "audio.pcm"
        if engine.reads_samples:
            await asyncio.to_thread(_decode, sample.path, pcm)
        clip = Clip(
            file=sample.path, content_type=sample.content_type, pcm=pcm, start_ms=0, end_ms=sample.duration_ms
        )
        try:
            heard: Heard = await engine.transcribe(clip, wish, lambda _: None)
        finally:
            left = await _deleted(ports, choice, copies)
    return Tested(
        slot=choice.slot,
        engine=choice.engine,
        model=heard.model,
        seconds=round(time.monotonic() - began, 2),
        language=heard.language,
        language_probability=heard.language_probability,
        segments=heard.segments,
        known=sample.text,
        warnings=[*left, *await model_warnings(ports, choice)],
    )


async def _deleted(ports: Ports, choice: SlotChoice, copies: list[str]) -> list[str]:
    """Deletes the copies of the sample at the service; returns a sentence for each copy that it keeps."""
    left: list[str] = []
    for copy_id in copies:
        try:
            await delete_copy(ports, choice, copy_id)
        except (SpeechError, TryAgain) as fault:
            left.append(f"The service still has the transcript {copy_id}: {fault.message}")
    return left


def _local(_model: str | None) -> Transcriber:
    raise CommandError(
        "the local engine answers this name, so there is no service to test. `lapel transcribe FILE` tests "
        "the local engine; `lapel providers set` chooses another engine."
    )


def _decode(file: Path, pcm: Path) -> None:
    from lapel.slices.transcription.audio.decoder_messages import Decode  # noqa: PLC0415
    from lapel.slices.transcription.audio.pcm_decoding import decode  # noqa: PLC0415  # FFmpeg is not small

    decode(Decode(file=str(file), pcm=str(pcm), declared="audio/opus", max_seconds=60, spare_bytes=0))


def _lines(found: list[SlotShown]) -> Group:
    rows = [
        (each.slot, each.engine, each.model or "", each.region or each.base_url or "", each.key or "")
        for each in found
    ]
    world = f"{found[0].project_id}, {found[0].mode}"
    return Group(table(("SLOT", "ENGINE", "MODEL", "WHERE", "KEY"), rows), "", world)


def _told(tested: Tested) -> str:
    language = tested.language or "not told"
    lines = [f"{tested.engine}, {tested.model}: {tested.seconds} s, language {language}", ""]
    for each in tested.segments:
        speaker = "" if each.speaker is msgspec.UNSET else f"{each.speaker}  "
        lines.append(f"{each.start:6.2f} – {each.end:6.2f}  {speaker}{each.text}")
    warnings = [f"Warning: {each}" for each in tested.warnings]
    return "\n".join([*lines, "", f"Known text: {tested.known}", *warnings])
