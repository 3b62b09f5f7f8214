"""SQL about the queue as a whole: its jobs, and rows that become useless with time."""

from __future__ import annotations

JOBS = "SELECT entrypoint, status::text AS status, count(*) AS count FROM jobs.pgqueuer GROUP BY 1, 2"
QUEUE_REACHABLE = "SELECT EXISTS (SELECT 1 FROM jobs.pgqueuer)"
# The workers of the last 30 seconds. Each writes `seen_at` every five seconds, by the database's clock,
# because machines' clocks may differ.
WORKERS = "SELECT count(*) FROM workers WHERE seen_at > now() - interval '30 seconds'"
HELD_JOBS = """
SELECT entrypoint, count(*) FROM jobs.pgqueuer WHERE status = 'failed' GROUP BY entrypoint ORDER BY entrypoint
"""
WAITING_JOBS = """
SELECT count(*), min(execute_after) FROM jobs.pgqueuer WHERE status = 'queued' AND execute_after <= $1
"""
# PgQueuer writes three rows per job and never deletes them. Rows that PgQueuer has not yet added to its
# statistics stay.
PRUNE_QUEUE_LOG = """
DELETE FROM jobs.pgqueuer_log WHERE id = ANY(ARRAY(
    SELECT id FROM jobs.pgqueuer_log WHERE created < $1 AND aggregated ORDER BY created LIMIT $2))
"""
# Counts of jobs that are no longer in the queue.
PRUNE_STARTS = """
DELETE FROM job_starts WHERE job_id = ANY(ARRAY(
    SELECT s.job_id FROM job_starts s
    WHERE s.last_started_at < $1 AND NOT EXISTS (SELECT 1 FROM jobs.pgqueuer q WHERE q.id = s.job_id)
    LIMIT $2))
"""
# Rows that killed workers have left.
PRUNE_WORKERS = """
DELETE FROM workers WHERE process_id = ANY(ARRAY(
    SELECT process_id FROM workers WHERE seen_at < $1 LIMIT $2))
"""
