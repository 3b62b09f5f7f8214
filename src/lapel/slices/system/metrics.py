"""`GET /metrics` for Prometheus, with what the database tells.

Source: the documentation of prometheus_client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from lapel.foundation.database import outbox
from lapel.foundation.outages import OUTAGES
from lapel.foundation.queue.jobs import count_workers
from lapel.foundation.queue.queue_queries import JOBS
from lapel.slices.encrypted_uploads.service import measure_publications
from lapel.slices.recordings.service import FINDINGS
from lapel.slices.retention.service import ERASED
from lapel.slices.search.service import measure_waiting
from lapel.slices.system.process_metrics import ProcessMetrics, build_info
from lapel.slices.system.service import AWAY
from lapel.slices.system.shared_look import PROBE_SECONDS, SharedLook
from lapel.slices.webhooks.service import LATE, measure_backlog

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from lapel.foundation.ports import Ports
    from lapel.slices.encrypted_uploads.service import PublicationsWaitingRow
    from lapel.slices.search.service import VectorsWaitingRow
    from lapel.slices.webhooks.service import BacklogRow

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Metrics(ProcessMetrics):
    """The metrics of the processes, and of the whole installation."""

    def __init__(self, ports: Ports) -> None:
        super().__init__(ports.settings, ports.ids)
        self._ports = ports
        self._installation = SharedLook(self._read, "metrics")
        self._backlog = SharedLook(self._read_waiting, "metrics of what waits")

    async def _counted(self) -> list[Metric]:
        """The metrics from the database: jobs, workers, findings, erasures by retention, and what waits."""
        up = "Whether the database answered this request."
        try:
            told = await self._installation.get()
        except AWAY as error:
            OUTAGES.tell(_log, "metrics.database_away", error)
            return [build_info(), GaugeMetricFamily("lapel_database_up", up, 0)]
        return [build_info(), GaugeMetricFamily("lapel_database_up", up, 1), *told, *await self._waiting()]

    async def _read(self) -> list[Metric]:
        """What the database tells of the whole installation. Raises one of AWAY."""
        async with asyncio.timeout(PROBE_SECONDS), self._ports.database.acquire() as connection:
            jobs = await connection.fetch(JOBS)
            workers = await count_workers(connection)
            findings = await connection.fetch(FINDINGS)
            erased = await connection.fetch(ERASED)
        queued = GaugeMetricFamily(
            "lapel_jobs",
            "Jobs in the queue; `failed` jobs are held for the operator.",
            labels=("job", "state"),
        )
        for row in jobs:
            queued.add_metric((row["entrypoint"], row["status"]), row["count"])
        found = CounterMetricFamily(
            "lapel_findings_total", "Findings of the reconciler since the installation.", labels=("kind",)
        )
        for row in findings:
            found.add_metric((row["kind"],), row["found"])
        retention = CounterMetricFamily(
            "lapel_retention_erased_total",
            "Recordings and audio erased at the end of their retention, since the installation.",
            labels=("kind",),
        )
        for row in erased:
            retention.add_metric((row["kind"],), row["erased"])
        seen = GaugeMetricFamily("lapel_workers", "Workers seen in the last 30 seconds.", workers)
        return [seen, queued, found, retention]

    async def _waiting(self) -> list[Metric]:
        """How far the workers are behind; nothing if the database cannot tell in time.

        While a snapshot is held for long, these statements read what has ended since. So they have a time of
        their own: if it ends, the database is not away.
        """
        try:
            return await self._backlog.get()
        except AWAY as error:
            _log.warning("metrics.waiting_unknown", error=type(error).__name__)
            return []

    async def _read_waiting(self) -> list[Metric]:
        async with asyncio.timeout(PROBE_SECONDS), self._ports.database.acquire() as connection:
            backlog = await measure_backlog(connection)
            waiting = await outbox.waiting_seconds(connection)
            vectors = await measure_waiting(connection)
            publications = await measure_publications(connection, self._ports.clock.now())
        return _waiting(backlog, waiting, vectors, publications)


def _waiting(
    backlog: BacklogRow, waiting: float, vectors: VectorsWaitingRow, publications: PublicationsWaitingRow
) -> list[Metric]:
    """How far the workers are behind. `waiting`: the age of the oldest event without a place, in seconds."""
    minutes = LATE.seconds // 60
    return [
        GaugeMetricFamily(
            "lapel_events_waiting_seconds",
            "Age of the oldest event that no worker has taken up: no stream and no webhook gets it yet.",
            waiting,
        ),
        GaugeMetricFamily(
            "lapel_webhook_overdue_seconds",
            "For how long the oldest delivery is due, of webhooks that work.",
            backlog.seconds,
        ),
        GaugeMetricFamily(
            "lapel_webhooks_overdue",
            f"Webhooks that work, with a delivery that is due for more than {minutes} minutes.",
            backlog.overdue,
        ),
        GaugeMetricFamily(
            "lapel_search_waiting_seconds",
            "For how long the oldest transcript waits for vectors, so that it is found by its words alone.",
            vectors.seconds,
        ),
        GaugeMetricFamily(
            "lapel_search_transcripts_waiting",
            "Transcripts that wait for a worker to compute vectors; 10,000 at most are counted.",
            vectors.transcripts,
        ),
        GaugeMetricFamily(
            "lapel_publication_waiting_seconds",
            "For how long the oldest encrypted upload is accepted and not published.",
            publications.seconds,
        ),
    ]
