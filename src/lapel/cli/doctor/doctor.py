"""`lapel doctor`: checks every part of an installation, and says how to repair each fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
from rich.console import Group
from rich.text import Text

from lapel.cli.doctor import (
    checks,
    database_checks,
    embedding_checks,
    local_model_checks,
    publication_checks,
    retention_checks,
    sandbox_checks,
    secret_checks,
    speech_checks,
    speech_models,
    webhook_checks,
)
from lapel.cli.doctor.checks import Finding
from lapel.cli.shared import queries
from lapel.cli.shared.http_client import NoAnswer, request
from lapel.cli.shared.installation import reachable, settings_of
from lapel.cli.shared.options import DataDir, Json, emit
from lapel.foundation.ports import Ports, open_ports
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolder, DataFolderError, Running
from lapel.setting_fields import SettingsError
from lapel.settings import Settings

# Seconds. Longer than a service of speech is waited for.
_LIMIT = 15.0
_ANSWER = 3.0  # seconds, to the running server's next bytes
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "broken": ("✗", "red")}


class DoctorReport(msgspec.Struct, frozen=True):
    """What `--json` prints; `healthy` means that nothing is broken."""

    healthy: bool
    findings: list[Finding]


def doctor(*, data_dir: DataDir = None, json: Json = False) -> None:
    """Check every part, and say how to repair each fault. Status 1 when something is broken.

    If the server is stopped, the command starts its database and store while it checks.

    For example:

        lapel doctor
        lapel doctor --data-dir /srv/lapel --json
    """
    try:
        findings = list(_examine(settings_of(data_dir, warns=False)))
    except SettingsError as fault:
        findings = [Finding("settings", "broken", str(fault), "See docs/settings.md.")]
    report = DoctorReport(all(each.state != "broken" for each in findings), findings)
    emit(report, json, lambda: Group(*map(_line, findings)))
    if not report.healthy:
        raise SystemExit(1)


def _examine(settings: Settings) -> Iterator[Finding]:
    yield from checks.local(settings)
    yield from speech_checks.speech(settings)
    yield from embedding_checks.meaning(settings)
    if (model := local_model_checks.local_model(settings)) is not None:
        yield model
    if settings.role in {"all", "worker"}:
        yield from sandbox_checks.sandbox()
    folder = DataFolder(settings.data_dir) if prepare.needs_folder(settings) else None
    is_there = folder is not None and folder.path.is_dir()
    running = folder.running() if folder is not None and is_there and folder.is_taken() else None
    if running is None:
        yield from checks.address(settings)
    if folder is not None and settings.database_url is None and not (is_there and _is_made(folder)):
        return  # there is no installation yet, or the finding about the folder already names the fault
    if running is not None:
        yield _server(running)
    try:
        with reachable(settings, store=True) as complete:
            yield from asyncio.run(_remote(complete, is_served=running is not None or folder is None))
    except SettingsError as fault:
        yield Finding("credentials", "broken", str(fault), "See docs/store.md.")
    except Exception as fault:  # noqa: BLE001  # `failed` raises it again if it is a defect
        yield checks.failed(fault, settings)


def _is_made(folder: DataFolder) -> bool:
    try:
        return folder.version() is not None
    except DataFolderError:
        return False


async def _remote(settings: Settings, *, is_served: bool) -> list[Finding]:
    """The findings about database and store, and about what they hold. Takes _LIMIT seconds at most."""
    async with open_ports(settings) as ports:
        groups = (
            ("database", _database(ports, is_served=is_served)),
            ("store", checks.store(ports)),
            ("links", checks.public_endpoint(settings)),
            ("database", _held(ports, is_served=is_served)),
            ("providers", _providers(ports)),
        )
        found = await asyncio.gather(*(_within(_LIMIT, part, group, settings) for part, group in groups))
    # Without a usable database, the checks of what it holds find the same again.
    broken = any(each.part == "database" and each.state == "broken" for each in found[0])
    return [finding for group in (found[:3] if broken else found) for finding in group]


async def _within(
    seconds: float, part: str, group: AsyncIterator[Finding], settings: Settings
) -> list[Finding]:
    """The findings of the group, as far as there are any within this time; then one that says what failed."""
    found: list[Finding] = []
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            async for finding in group:
                found.append(finding)  # noqa: PERF401  # those before a failure count
    except TimeoutError as fault:
        if limit.expired():
            detail = f"its checks did not end within {seconds:.0f} s, and were given up"
            found.append(Finding(part, "broken", detail, checks.whose_log(part, settings)))
        else:
            found.append(checks.failed(fault, settings, part))
    except Exception as fault:  # noqa: BLE001  # `failed` raises it again if it is a defect
        found.append(checks.failed(fault, settings, part))
    return found


async def _database(ports: Ports, *, is_served: bool) -> AsyncIterator[Finding]:
    async with ports.database.acquire() as connection:
        yield await checks.database(connection, ports)
        workers = await queries.workers_seen(connection)
        async for finding in database_checks.connections(connection, ports, workers):
            yield finding
        async for finding in checks.work(connection, ports, is_served=is_served):
            yield finding


async def _held(ports: Ports, *, is_served: bool) -> AsyncIterator[Finding]:
    async with ports.database.acquire() as connection:
        yield await secret_checks.secrets(connection, ports.settings)
        yield await database_checks.audit_rights(connection)
        groups = (
            speech_checks.failing_steps(connection),
            speech_checks.provider_keys(connection, ports.sealer),
            speech_checks.remote_copies(connection),
            webhook_checks.webhook_secrets(connection, ports.sealer),
            secret_checks.signing_keys(connection, ports.sealer),
            secret_checks.earlier_secrets(connection, ports.settings),
        )
        for group in groups:
            async for finding in group:
                yield finding
        if is_served:
            yield await webhook_checks.deliveries(connection, ports.settings)
            yield await embedding_checks.vectors(connection, ports.settings)
            yield await publication_checks.publications(connection)


async def _providers(ports: Ports) -> AsyncIterator[Finding]:
    for finding in (*await speech_models.engines(ports), *await speech_models.provider_models(ports)):
        yield finding
    yield await retention_checks.retention(ports)


def _server(running: Running) -> Finding:
    """Whether the running server answers.

    The check uses the listening address, because the public URL may lead through a proxy.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(running.host, running.host)  # noqa: S104
    netloc = f"[{host}]" if ":" in host else host
    url = f"{'https' if running.tls else 'http'}://{netloc}:{running.port}/health"
    where, remedy = f"{host}:{running.port}", "Read the log of `lapel serve`."
    try:
        # The certificate names the public host and not this address; only the state is asked for.
        status = request("GET", url, timeout=_ANSWER, verify=False).status
    except NoAnswer as fault:
        return Finding("server", "broken", f"{where} does not answer ({fault})", remedy)
    if status != 200:
        return Finding("server", "broken", f"{where}/health is {status}", remedy)
    return Finding("server", "ok", f"{where} is healthy, for clients {running.base_url}")


def _line(finding: Finding) -> Text:
    mark, colour = _MARKS[finding.state]
    remedy = f"\n    → {finding.remedy}" if finding.remedy else ""
    return Text.assemble((mark, colour), f" {finding.part:<12} {finding.detail}{remedy}")
