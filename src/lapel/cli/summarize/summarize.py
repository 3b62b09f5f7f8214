"""`lapel summarize`: a summary of one file, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.options import Json, emit, put, say
from lapel.cli.shared.own_server import end_on_sigterm
from lapel.cli.summarize.transcript_files import ReadTranscript, read_transcript
from lapel.foundation import telemetry
from lapel.settings import Settings
from lapel.slices.embeddings.service import Embeddings, EmbeddingsAway, OwnMeanings
from lapel.slices.language_models.local.local_model import LocalModels
from lapel.slices.language_models.service import ModelAway, ModelFailed
from lapel.slices.summaries.templates.builtin import BUILT_IN, Template, of_prompt, template_id_of
from lapel.slices.summaries.wire import SummaryWarning
from lapel.slices.summaries.work.summary_writing import MadeSummary, SummaryFailed, make_summary
from lapel.slices.summaries.writing.model_writer import UnkeptParts

_Model: TypeAlias = Literal["local", "extractive"]
# The world for which the local model works: without a server there is none.
_NO_WORLD = 0
_FEWEST, _MOST = 10, 10_000


class PrintedSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `output`: as in the API; the evidence of a text without times is left out."""

    file: str
    template: str | None
    prompt: str | None
    model: str
    output: msgspec.Raw
    warnings: list[SummaryWarning]


def summarize(
    file: Annotated[str, Parameter(help="An audio or video file, or a transcript: .json or .txt.")],
    /,
    *,
    template: Annotated[
        str, Parameter(help="general_notes, sales_call, clinical_soap or legal_memo.")
    ] = "general_notes",
    prompt: Annotated[
        str | None, Parameter(help="What to write, in place of a template; 10 to 10,000 characters.")
    ] = None,
    model: Annotated[
        _Model,
        Parameter(
            help="`local`: the language model of this machine, if one is installed; else sentences of the "
            "transcript. `extractive`: always sentences of the transcript."
        ),
    ] = "local",
    json: Json = False,
) -> None:
    """Summarize a recording or a transcript. Needs no server, no data folder and no account.

    The summary goes to standard output as Markdown, with the time in the recording on which each entry rests.

    For example:

        lapel summarize talk.m4a
        lapel summarize call.wav --template sales_call
        lapel transcribe talk.m4a --output talk.json
        lapel summarize talk.json
        lapel summarize minutes.txt --prompt "Which questions are open?" --json
    """
    chosen = _template(template, prompt)
    end_on_sigterm()  # so that the model's process ends, and its folder is removed
    telemetry.configure("error", "auto", "summarize")
    transcript = read_transcript(file)
    for lack in transcript.warnings:
        say(f"{file}: {lack.message}")
    made = asyncio.run(_made(chosen, transcript, model))
    output: dict[str, Any] = msgspec.json.decode(made.output)
    if not transcript.has_times:
        output.pop("evidence", None)
    if json:
        printed = PrintedSummary(
            file=file,
            template=None if prompt else chosen.name,
            prompt=prompt,
            model=made.model,
            output=msgspec.Raw(msgspec.json.encode(output)),
            warnings=made.warnings,
        )
        emit(printed, True, str)
        return
    put(_markdown(Path(file).name, chosen, made.model, output).encode())
    for warning in made.warnings:
        say(warning.message)


def _template(word: str, prompt: str | None) -> Template:
    if prompt is not None:
        if not _FEWEST <= len(prompt) <= _MOST:
            raise CommandError(f"--prompt: give {_FEWEST} to {_MOST:,} characters.")
        return of_prompt(prompt)
    found = BUILT_IN.get(template_id_of(word))
    if found is None:
        names = ", ".join(each.name for each in BUILT_IN.values())
        raise CommandError(f"--template {word}: there is no such template; the templates are: {names}.")
    return found


async def _made(template: Template, transcript: ReadTranscript, model: _Model) -> MadeSummary:
    """The summary. Raises CommandError with the reason when there is none."""
    settings = Settings.load()
    embeddings, models = Embeddings(settings), LocalModels(settings, is_alone=True)
    try:
        return await make_summary(
            models.model(_NO_WORLD, "summary") if model == "local" else None,
            template,
            transcript.segments,
            transcript.language,
            parts=UnkeptParts(),
            meanings=OwnMeanings(embeddings),
        )
    except EmbeddingsAway as away:
        raise CommandError("the embedding model ended its work early; run the command again") from away
    except (SummaryFailed, ModelFailed, ModelAway) as fault:
        raise CommandError(fault.message) from fault
    finally:
        await models.aclose()
        await embeddings.aclose()


def _markdown(name: str, template: Template, model: str, output: dict[str, Any]) -> str:
    evidence: dict[str, list[list[dict[str, int]]]] = output.pop("evidence", {})
    lines = [f"# {name}", "", f"*{template.name}, by {model}*", ""]
    if template.id is None and set(output) == {"content"}:
        lines += [str(output["content"]), *_times(evidence.get("content", [[]])[0])]
        return "\n".join(lines).rstrip() + "\n"
    for key, value in output.items():
        times = evidence.get(key, [])
        if value is None or value == []:
            continue
        lines += [f"## {key.replace('_', ' ').capitalize()}", ""]
        entries = cast("list[Any]", value) if isinstance(value, list) else [value]
        bullet = "- " if isinstance(value, list) else ""
        for place, entry in enumerate(entries):
            text = entry if isinstance(entry, str) else msgspec.json.encode(entry).decode()
            at = _times(times[place]) if place < len(times) else []
            lines.append(" ".join([f"{bullet}{text}", *at]))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _times(spans: list[dict[str, int]]) -> list[str]:
    """Where an entry rests, such as `[1:02, 4:40]`."""
    return [f"[{', '.join(_time(each['start_ms']) for each in spans)}]"] if spans else []


def _time(milliseconds: int) -> str:
    hours, rest = divmod(milliseconds // 1000, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
