"""The SQL of the system: about the database as a whole, so no statement takes a world."""

from __future__ import annotations

ALIVE = "SELECT 1"
REVISION = "SELECT version_num FROM alembic_version"
JOBS = "SELECT entrypoint, status::text AS status, count(*) AS count FROM jobs.pgqueuer GROUP BY 1, 2"
QUEUE_REACHABLE = "SELECT EXISTS (SELECT 1 FROM jobs.pgqueuer)"
FINDINGS = "SELECT kind, found FROM findings"
