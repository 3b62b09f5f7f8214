"""The command `lapel`. Each subcommand is a module, which is imported only when the subcommand is called."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

from lapel.foundation.build_info import version_line

gc.disable()  # imports make objects that stay, and collecting takes a quarter of the time
from cyclopts import App, CycloptsError  # noqa: E402

gc.enable()

app = App(
    name="lapel",
    help="The cloud for devices that record conversations. Start with `lapel demo` or `lapel serve`.",
    version=version_line,
    help_format="markdown",
)
projects = App(name="projects", help="Make and list projects.")
config = App(name="config", help="Show and set the configuration of all projects of an organization.")
providers = App(name="providers", help="List, set and test the engines behind the provider names.")
audit = App(name="audit", help="List, verify and export the audit log.")
erasures = App(name="erasures", help="List the erasure ledger.")
holds = App(name="holds", help="List legal holds.")
logs = App(name="logs", help="Show the requests of a project as they are answered.")
events = App(name="events", help="Show events as they happen, and deliver them again.")
signing_keys = App(name="signing-keys", help="List and rotate the keys that sign documents for devices.")
secrets = App(name="secrets", help="Encrypt what is sealed again, after a change of the secret.")
keys = App(name="keys", help="Make, list, revoke and rotate API keys, with the server running or stopped.")

# Each command's function and the first line of its help. With the line here, the overview imports no command.
COMMANDS = (
    (
        app,
        "serve",
        "lapel.cli.commands.serve:serve",
        "Run the server: database, store, API and worker, until Ctrl-C.",
    ),
    (
        app,
        "demo",
        "lapel.cli.demo.demo:demo",
        "Start a server, then upload, transcribe and summarize one real recording, and ask about it.",
    ),
    (
        app,
        "simulate",
        "lapel.cli.commands.simulate:simulate",
        "Run a fleet of simulated devices against a server, and check that the server keeps its promises.",
    ),
    (
        app,
        "listen",
        "lapel.cli.events.listen:listen",
        "Forward events to a URL as they happen, signed like the deliveries of a webhook.",
    ),
    (
        app,
        "trigger",
        "lapel.cli.events.trigger:trigger",
        "Cause an event, by really making in the test world what the event tells of.",
    ),
    (
        app,
        "transcribe",
        "lapel.cli.transcribe.transcribe:transcribe",
        "Turn audio files into transcripts. Needs no server, no data folder and no account.",
    ),
    (
        app,
        "summarize",
        "lapel.cli.summarize.summarize:summarize",
        "Summarize a recording or a transcript. Needs no server, no data folder and no account.",
    ),
    (
        app,
        "ask",
        "lapel.cli.ask.ask:ask",
        "Ask a question about recordings. The answer says at which minute and second it was said.",
    ),
    (
        app,
        "eval",
        "lapel.cli.evaluate.evaluate:evaluate",
        "Measure search, answers, summaries, planted attacks and judged claims with shipped conversations.",
    ),
    (
        app,
        "init",
        "lapel.cli.commands.init:init",
        "Prepare database, bucket (with CORS for uploads from browsers) and a first key. Safe to repeat.",
    ),
    (
        app,
        "migrate",
        "lapel.cli.commands.migrate:migrate",
        "Migrate the database to this version's schema. Safe to repeat, and on several machines at once.",
    ),
    (
        app,
        "backup",
        "lapel.cli.backup.backup:backup",
        "Write database, objects and secrets to a folder, with the server running or stopped.",
    ),
    (app, "restore", "lapel.cli.backup.restore:restore", "Restore a backup into an empty data folder."),
    (
        app,
        "export",
        "lapel.cli.commands.export:export",
        "Write everything that is stored about one end user into a zip, with the server running or stopped.",
    ),
    (
        app,
        "search",
        "lapel.cli.search.search:search",
        "Find passages in what an end user's recordings say, with the server running or stopped.",
    ),
    (
        app,
        "erase",
        "lapel.cli.erase.erase:erase",
        "Erase a recording or an end user, or again what a restored backup brought back; export the ledger.",
    ),
    (
        app,
        "doctor",
        "lapel.cli.doctor.doctor:doctor",
        "Check every part, and say how to repair each fault. Status 1 when something is broken.",
    ),
    (
        projects,
        "create",
        "lapel.cli.commands.projects:create",
        "Make a project, with a live and a test world that share nothing.",
    ),
    (projects, "list", "lapel.cli.commands.projects:list_", "List all projects, oldest first."),
    (
        config,
        "show",
        "lapel.cli.commands.config:show",
        "Show the built-in defaults merged with the organization's overrides, and each section's source.",
    ),
    (
        config,
        "set",
        "lapel.cli.commands.config:set_",
        "Override fields of a section for all projects of the organization.",
    ),
    (
        config,
        "clear",
        "lapel.cli.commands.config:clear",
        "Remove the organization's overrides of a section.",
    ),
    (
        providers,
        "list",
        "lapel.cli.commands.providers:list_",
        "List the engine of each provider name. Of a key, only the last four characters are shown.",
    ),
    (
        providers,
        "set",
        "lapel.cli.commands.providers:set_",
        "Set the engine that answers a provider name. Options that are left out keep their value.",
    ),
    (
        providers,
        "remove",
        "lapel.cli.commands.providers:remove",
        "Reset a provider name to the local engine, and delete its key.",
    ),
    (
        providers,
        "test",
        "lapel.cli.commands.providers:try_",
        "Send a sample to the engine set for a provider name, and print what it answers.",
    ),
    (
        events,
        "tail",
        "lapel.cli.events.tail:tail",
        "Show events as they happen: a line each, or with --json the whole event. Ctrl-C ends it.",
    ),
    (
        events,
        "resend",
        "lapel.cli.events.resend:resend",
        "Deliver an event to webhooks again, with the same bytes, whatever became of an earlier delivery.",
    ),
    (
        logs,
        "tail",
        "lapel.cli.commands.logs:tail",
        "Show requests as they are answered: time, status, method, path, caller, address. Ctrl-C ends it.",
    ),
    (
        keys,
        "create",
        "lapel.cli.commands.keys:create",
        "Make a key and print it; it is shown only once. Into a pipe it prints JSON, as with --json.",
    ),
    (
        keys,
        "list",
        "lapel.cli.commands.keys:list_",
        "List all keys, including ended ones; secrets are never shown.",
    ),
    (
        keys,
        "revoke",
        "lapel.cli.commands.keys:revoke",
        "Revoke a key: when this command returns, every server refuses the key.",
    ),
    (
        keys,
        "rotate",
        "lapel.cli.commands.keys:rotate",
        "Replace a key by a new one; both work during the overlap. Into a pipe it prints JSON.",
    ),
    (
        signing_keys,
        "list",
        "lapel.cli.signing_keys.signing_key_commands:list_",
        "List the keys that sign for devices, retired ones too. Private keys are never shown.",
    ),
    (
        signing_keys,
        "prepare",
        "lapel.cli.signing_keys.signing_key_commands:prepare",
        "Make the key that signs after the next rotation, so that devices can learn it before.",
    ),
    (
        signing_keys,
        "rotate",
        "lapel.cli.signing_keys.signing_key_commands:rotate",
        "Retire the key that signs for devices. The prepared key signs then, or else a new one.",
    ),
    (
        secrets,
        "reseal",
        "lapel.cli.secrets.secret_commands:reseal",
        "Encrypt everything that is sealed again, under the present secret.",
    ),
    (audit, "list", "lapel.cli.commands.lists:audit", "List the newest entries of the audit log."),
    (
        audit,
        "verify",
        "lapel.cli.commands.audit_log:verify",
        "Verify the audit log: every entry, its values, its chain and its checkpoints. Status 1 if broken.",
    ),
    (
        audit,
        "export",
        "lapel.cli.commands.audit_log:export",
        "Write the audit log of the test or live worlds as NDJSON, oldest first.",
    ),
    (erasures, "list", "lapel.cli.commands.lists:erasures", "List the newest entries of the erasure ledger."),
    (holds, "list", "lapel.cli.commands.lists:holds", "List the newest legal holds."),
)
for _parent, _name, _place, _help in COMMANDS:
    # When this command runs, pass no help text: it would replace the docstring in the command's own help.
    _parent.command(_place, name=_name, help=None if _name in sys.argv else _help)
app.command(projects)
app.command(config)
app.command(providers)
app.command(events)
app.command(logs)
app.command(keys)
app.command(signing_keys)
app.command(secrets)
app.command(audit)
app.command(erasures)
app.command(holds)


_MISUSED = 2
# 128 + SIGPIPE: what a shell reports for most programs when the reader of their output ends before them.
_READER_GONE = 141


@contextlib.contextmanager
def _stderr() -> Generator[None]:
    """Without stderr the work goes on: what is said, logged or written by children to it is then discarded.

    Without this, a closed stderr (`2>&-`) is None in Python, and if its disk is full, or its pipe has no
    reader, Python tries to write the rest at exit and replaces the status by 120.
    """
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # until the process ends
        os.dup2(sys.stderr.fileno(), 2)
        os.set_inheritable(2, True)
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _check_arguments(arguments: list[str]) -> None:
    """Ends with status 2 when an argument is empty (usually an unset shell variable) or not UTF-8.

    If an empty argument counted as left out, a key could get every scope, or never expire.
    """
    flag, after = "", "lapel"
    for each in arguments:
        name, _, value = each.partition("=")
        if not each or (each.startswith("--") and each.endswith("=") and not value):
            if name or flag:
                said = f"{name or flag}: the value is empty; give one, or leave the flag out"
            else:
                said = f"the argument after `{after}` is empty; give one"
            _say(f"{said}.")
            raise SystemExit(_MISUSED)
        if any("\ud800" <= character <= "\udfff" for character in each):
            _say(f"{each!a} is not UTF-8.")
            raise SystemExit(_MISUSED)
        flag = each if each.startswith("--") else ""
        after = each


def _say(sentence: str) -> None:
    from lapel.cli.shared.options import say  # noqa: PLC0415  # imports much; only needed then

    say(sentence)


def main() -> None:
    """Runs the command line.

    Raises SystemExit: with status 1 and one line on stderr for an error that the operator can repair, with
    status 130 at Ctrl-C, and with status 141 when the reader of stdout has ended.
    """
    if sys.platform == "win32":
        raise SystemExit("lapel: Windows is not supported; use Linux or macOS, or WSL on Windows.")
    with _stderr():
        _check_arguments(sys.argv[1:])
        try:
            _run()
        except Exception as fault:
            status = _MISUSED if _in_a_parse_error(fault) else _told(fault)
            if status is None:
                raise
            raise SystemExit(status) from None
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # so Rich ends the process
                raise SystemExit(_MISUSED if _in_a_parse_error(end) else _READER_GONE) from None
            raise
        except KeyboardInterrupt:
            raise SystemExit(130) from None


def _run() -> None:
    """Runs the command, and writes what of its result is in the buffer of stdout."""
    try:
        app()
    finally:
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except OSError as fault:
                from lapel.cli.shared.options import unwritten  # noqa: PLC0415  # imports much

                raise unwritten(fault) from fault


def _in_a_parse_error(fault: BaseException) -> bool:
    """Whether stderr failed while Cyclopts said there what is wrong with the command line."""
    context = fault.__context__
    return context is not None and (isinstance(context, CycloptsError) or _in_a_parse_error(context))


def _told(fault: Exception) -> int | None:
    """Says what is wrong, and returns the process's status; None for a defect, which needs a traceback."""
    from lapel.cli.shared.faults import explain  # noqa: PLC0415  # imports what can fail; only needed then
    from lapel.cli.shared.options import ReaderGone  # noqa: PLC0415

    if isinstance(fault, ReaderGone):
        return _READER_GONE
    sentence = explain(fault)
    if sentence is None:
        return None
    _say(sentence)
    return 1


if __name__ == "__main__":
    main()
