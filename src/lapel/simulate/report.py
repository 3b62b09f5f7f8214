"""The report at the end of a simulation."""

from __future__ import annotations

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lapel.simulate.client.meter import Histogram, Meter
from lapel.simulate.oracle import OracleFinding, OracleVerdict
from lapel.simulate.phone.sealed_uploads import PublishedSession, SealedCounts
from lapel.simulate.plan import FleetPlan


class UploadCounts(msgspec.Struct, frozen=True):
    """Uploads whose completion was answered 200, by what the server shows at the end."""

    promised: int
    kept: int
    lost: int
    duplicated: int


class CommandCounts(msgspec.Struct, frozen=True):
    """Commands. `twice`: commands that a device executed a second time, which breaks a promise."""

    sent: int
    executed: int
    acknowledged: int
    twice: int


class Ota(msgspec.Struct, frozen=True):
    """Firmware offers, and how they ended according to the devices."""

    offered: int
    applied: int
    failed: int


class DiagnosticsCounts(msgspec.Struct, frozen=True):
    """Diagnostic events that devices made, and those that the server has accepted."""

    made: int
    accepted: int


class Latency(msgspec.Struct, frozen=True):
    """Latencies in milliseconds; null when there were no answers."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report. `p50`, `p95` and `p99` are milliseconds over all calls while the fleet lived.

    `late`: delay between the time at which a device's action is due and its start. The delay grows if the
    server is overloaded. `sealed` is null, and `sessions` is empty, if devices upload plain audio.
    """

    run: str
    seed: int
    seconds: float
    ended_early: bool
    devices: int
    heartbeats: int
    heartbeats_per_second: float
    uploads: UploadCounts
    p50: float | None
    p95: float | None
    p99: float | None
    late: Latency
    commands: CommandCounts
    ota: Ota
    diagnostics: DiagnosticsCounts
    tokens_refreshed: int
    devices_rebound: int
    errors: dict[str, int]
    repeats: dict[str, int]
    calls: dict[str, Latency]
    broken: dict[str, int]
    findings: list[OracleFinding]
    left_behind: bool
    sealed: SealedCounts | None
    sessions: list[PublishedSession]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken


def report_of(
    plan: FleetPlan,
    meter: Meter,
    verdict: OracleVerdict,
    *,
    sealed: SealedCounts | None,
    sessions: list[PublishedSession],
    seconds: float,
    ended_early: bool,
    left_behind: bool,
) -> FleetReport:
    """The report of a simulation whose fleet lived for `seconds` by the clock."""
    counts = meter.counts
    total = latency_of(meter.total)
    return FleetReport(
        run=plan.run,
        seed=plan.seed,
        seconds=round(seconds, 1),
        ended_early=ended_early,
        devices=plan.devices,
        heartbeats=counts["heartbeats"],
        heartbeats_per_second=round(counts["heartbeats"] / seconds, 1) if seconds else 0.0,
        uploads=UploadCounts(verdict.promised, verdict.kept, verdict.lost, verdict.duplicated),
        p50=total.p50,
        p95=total.p95,
        p99=total.p99,
        late=latency_of(meter.late),
        commands=CommandCounts(
            counts["commands sent"],
            counts["commands executed"],
            counts["commands acknowledged"],
            verdict.commands_twice,
        ),
        ota=Ota(counts["updates offered"], counts["updates applied"], counts["updates failed"]),
        diagnostics=DiagnosticsCounts(counts["diagnostics made"], counts["diagnostics accepted"]),
        tokens_refreshed=counts["tokens refreshed"],
        devices_rebound=counts["devices rebound"],
        errors=dict(meter.errors.most_common()),
        repeats=dict(meter.repeats.most_common()),
        calls={name: latency_of(each) for name, each in sorted(meter.calls.items())},
        broken=verdict.broken,
        findings=sorted(verdict.findings),
        left_behind=left_behind,
        sealed=sealed,
        sessions=sessions,
    )


def latency_of(histogram: Histogram) -> Latency:
    """Count, p50, p95 and p99 of a histogram."""
    return Latency(
        histogram.count, histogram.quantile(0.5), histogram.quantile(0.95), histogram.quantile(0.99)
    )


def shown_of(report: FleetReport) -> Group:
    """The report for people."""
    latency = "no call" if report.p50 is None else f"p50 {report.p50}, p95 {report.p95}, p99 {report.p99} ms"
    late = "" if report.late.p99 is None else f"; a device was served {report.late.p99} ms late (p99)"
    early = ", ended early" if report.ended_early else ""
    figures = Table.grid(padding=(0, 1))
    for name, value in (
        ("Lived", f"{report.devices:,} devices for {report.seconds:,} s{early}"),
        ("Heartbeats", f"{report.heartbeats:,}, {report.heartbeats_per_second:,}/s"),
        ("Uploads", _shown(report.uploads)),
        *([] if report.sealed is None else [("Encrypted", _shown(report.sealed))]),
        ("Commands", _shown(report.commands)),
        ("Updates", _shown(report.ota)),
        ("Diagnostics", _shown(report.diagnostics)),
        ("Answers", latency + late),
        ("Repeated", _listed(report.repeats)),
        ("Errors", _listed(report.errors)),
    ):
        figures.add_row(Text(name, "bold"), Text(value))
    lines = [Text(f"✗ {each.kind}, {each.serial_number}: {each.detail}") for each in report.findings]
    if report.is_kept:
        lines.append(Text.assemble(("✓", "green"), " everything that was promised was kept"))
    else:
        lines.append(Text.assemble(("✗", "red"), f" not as promised: {_listed(report.broken)}"))
    if report.left_behind:
        lines.append(Text(f"The devices stay: end users {report.run}-…, model simulated_{report.run}"))
    return Group(figures, *lines)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} × {kind}" for kind, number in counts.items()) or "none"


def _shown(counts: msgspec.Struct) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in msgspec.structs.asdict(counts).items())
