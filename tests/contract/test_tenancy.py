"""Tenancy is in the key: of every statement and of every table."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import lapel
from lapel import app
from tests.support.declared import declared_services
from tests.support.statements import faults, rows, statements, tenant_tables, without_world

# Statements that touch a tenant's table without naming a world, and why that is right.
_REASONS = {
    "a token names its world itself": (
        "lapel.slices.projects.key_queries.FIND_KEY",
        "lapel.slices.devices.tokens.lookup_queries.FIND_DEVICE",
        "lapel.slices.recordings.uploads.token_lookup_queries.FIND_UPLOAD",
        "lapel.slices.end_users.end_user_token_queries.FIND_END_USER",
        "lapel.slices.devices.tokens.lookup_queries.PROMOTE_FRESH",
        "lapel.slices.heartbeats.queries.BEATS_OF_DEVICES",
        "lapel.slices.heartbeats.queries.BEAT_OF_DEVICE",
        "lapel.slices.heartbeats.queries.FULL_BEAT_OF_DEVICE",
    ),
    "the sweep looks after all worlds, and passes each row's own world on": (
        "lapel.slices.encrypted_uploads.sessions.clearing_queries.FIND_DUE",
        "lapel.slices.configuration.queries.WORLDS_WITH_RETENTION",
        "lapel.slices.configuration.service.WORLDS_WITH_RETENTION",
        "lapel.slices.devices.reports.report_queries.FIND_SILENT",
        "lapel.slices.retention.queries.WORLDS_WITH_RETENTION",
        "lapel.slices.search.indexing.vector_queries.FORGET_OLD",
        "lapel.slices.search.indexing.vector_queries.RENEW_MODEL",
        "lapel.slices.transcription.copies.copy_queries.CLAIM",
        "lapel.slices.transcription.reading.segment_queries.LIST_COMPLETED",
    ),
    "whose turn it is, of all worlds; each row's own world is passed on": (
        "lapel.slices.summaries.work.summary_work_queries.CLAIM",
        "lapel.slices.summaries.work.summary_work_queries.LACKING",
        "lapel.slices.search.indexing.vector_queries.CLAIM",
        "lapel.slices.search.indexing.vector_queries.HAS_DUE",
        "lapel.slices.transcription.work.work_queries.CLAIM",
        "lapel.slices.transcription.work.work_queries.LACKING",
        "lapel.slices.webhooks.delivery.claim_queries.VISIT",
    ),
    "the reconciler looks after all worlds, and passes each row's own world on": (
        "lapel.slices.erasure.queries.FIND_DUE",
        "lapel.slices.erasure.queries.FIND_ENTERING",
        "lapel.slices.erasure.queries.FOLLOW_ERASED",
        "lapel.slices.erasure.queries.FOLLOW_CLOSED",
        "lapel.slices.erasure.hold_queries.FIND_UNSETTLED",
        "lapel.slices.erasure.outside.hold_line_queries.FIND_UNTOLD_OF_ALL",
        "lapel.slices.projects.revocations.revocation_line_queries.FIND_UNWRITTEN_ENDS",
        "lapel.slices.firmware.assignments.assignment_state_queries.EXPIRE",
        "lapel.slices.firmware.queries.SERVED",
        "lapel.slices.firmware.rollouts.rollout_queries.FIND_RUNNING",
        "lapel.slices.encrypted_uploads.publication.publication_queries.TAKE_DUE",
        "lapel.slices.recordings.reconcile.reconcile_queries.FIND_UNFINISHED",
        "lapel.slices.recordings.reconcile.reconcile_queries.ROWS_BETWEEN",
        "lapel.slices.recordings.reconcile.reconcile_queries.ROW_OF_OBJECT",
        "lapel.slices.recordings.reconcile.reconcile_queries.READ_STAGED",
    ),
    "the operator's command writes the whole ledger to a file": (
        "lapel.slices.erasure.outside.ledger_line_queries.EXPORT",
        "lapel.slices.erasure.outside.hold_line_queries.EXPORT_HOLDS",
        "lapel.slices.projects.revocations.revocation_line_queries.EXPORT_ENDS",
    ),
    "each line of the operator's file names its own world": (
        "lapel.slices.erasure.outside.ledger_line_queries.FIND_ENTERED",
        "lapel.slices.erasure.outside.hold_line_queries.FIND_KNOWN_HOLDS",
        "lapel.slices.projects.revocations.revocation_line_queries.FIND_KNOWN_ENDS",
    ),
    "after a restore, the bucket of the whole server may be another one": (
        "lapel.slices.projects.revocations.revocation_line_queries.FORGET_WRITTEN_ENDS",
    ),
    "an object's key names the project, and the recording's id is unique in it": (
        "lapel.slices.encrypted_uploads.sessions.clearing_queries.LOOKED_AFTER",
        "lapel.slices.recordings.reconcile.reconcile_queries.LOCK_BY_PROJECT",
    ),
    "old rows of all worlds go by age": (
        "lapel.foundation.http.strategies.idempotency.PRUNE_ANSWERS",
        "lapel.slices.system.jobs.PRUNE_ANSWERS",
        "lapel.foundation.database.outbox.PRUNE_EVENTS",
        "lapel.slices.system.jobs.PRUNE_EVENTS",
        "lapel.slices.ask.answering.answer_queries.SWEEP",
        "lapel.slices.webhooks.queries.FORGET_SECRETS",
        "lapel.slices.webhooks.service.FORGET_SECRETS",
        "lapel.slices.system.jobs.FORGET_SECRETS",
        "lapel.slices.heartbeats.queries.PRUNE_DIAGNOSTICS",
        "lapel.slices.recordings.reconcile.reconcile_queries.PRUNE_ATTEMPTS",
        "lapel.slices.recordings.reconcile.reconcile_queries.PRUNE_TOKENS",
    ),
    "one worker chains the entries of all worlds": (
        "lapel.foundation.database.audit.QUEUED_WORLDS",
        "lapel.slices.audit.chain.chain_queries.FIND_DUE_CHECKPOINTS",
    ),
    "which worlds are full, of all of them": (
        "lapel.foundation.database.row_quota.FORGET",
        "lapel.foundation.database.row_quota.READ",
    ),
    "one worker removes the erased events of all worlds, one world after the other": (
        "lapel.foundation.database.outbox.NEXT_WORLD_WITH_ERASED",
    ),
    "one worker places the events of all worlds": (
        "lapel.foundation.database.outbox.PLACE_EVENTS",
        "lapel.foundation.database.outbox.WAITING",
        "lapel.foundation.database.outbox.WAITING_SECONDS",
    ),
    "the worlds and ids are the arguments' rows": (
        "lapel.slices.encrypted_uploads.sessions.clearing_queries.SET_CLEARED",
        "lapel.slices.projects.queries.RECORD_USE",
        "lapel.slices.transcription.work.work_queries.WAITING",
        "lapel.slices.webhooks.delivery.claim_queries.END_PAUSES",
        "lapel.slices.webhooks.delivery.claim_queries.LOCK_PROBES",
        "lapel.slices.webhooks.delivery.claim_queries.PAUSED_BY_PROBES",
        "lapel.slices.webhooks.delivery.claim_queries.TAKE_PROBES",
        "lapel.slices.webhooks.delivery.settling.outcome_queries.CHANGED_WEBHOOKS",
        "lapel.slices.webhooks.delivery.settling.outcome_queries.LOCK_WEBHOOKS",
        "lapel.slices.webhooks.delivery.settling.outcome_queries.SET_CIRCUITS",
    ),
    "what lies in a worker's own folder, of whatever worlds": (
        "lapel.slices.erasure.local_copy_queries.DELETE_OF_HOLDERS",
        "lapel.slices.erasure.local_copy_queries.RENEW",
        "lapel.slices.erasure.local_copy_queries.ERASED_OF",
    ),
    "the operator's command, about the whole installation": (
        "lapel.cli.shared.queries.MADE_UNDER_OTHERS",
        "lapel.cli.shared.queries.COUNT_PROMISED",
        "lapel.cli.shared.queries.FIND_PROMISED",
        "lapel.cli.shared.queries.PROMISED",
        "lapel.cli.shared.queries.PROMISED_FILES",
        "lapel.cli.shared.queries.PROMISED_MEDIA",
        "lapel.slices.firmware.queries.PROMISED_FILES",
        "lapel.slices.recordings.records.record_queries.PROMISED_MEDIA",
        "lapel.slices.end_users.queries.FIND_IN_ANY_WORLD",
        "lapel.slices.recordings.deletion.deletion_queries.FIND_WORLD",
        "lapel.slices.projects.queries.ANY_KEY",
        "lapel.slices.projects.queries.COUNT_WORKING",
        "lapel.slices.projects.queries.FIND_KEY_OF_ANY_WORLD",
        "lapel.slices.providers.slots.slot_queries.LIST_KEYS",
        "lapel.slices.webhooks.queries.LIST_SEALED",
        "lapel.slices.encrypted_uploads.sessions.session_queries.LIST_RECIPIENT_KEYS",
        "lapel.slices.providers.slots.slot_queries.COUNT_REMOTE",
        "lapel.slices.providers.slots.slot_queries.LIST_REMOTE",
        "lapel.slices.encrypted_uploads.policies.policy_queries.FORGET_POLICIES",
        "lapel.slices.transcription.work.work_queries.TRYING",
        "lapel.slices.webhooks.waiting_queries.BACKLOG",
        "lapel.slices.encrypted_uploads.publication.publication_queries.WAITING",
        "lapel.slices.search.indexing.vector_queries.WAITING",
        "lapel.slices.transcription.copies.copy_queries.LEFT",
    ),
}
EXCEPTIONS = {name: reason for reason, names in _REASONS.items() for name in names}


async def test_every_statement_names_its_world(fresh_database: str) -> None:
    tables = await tenant_tables(fresh_database)
    found = {name: list(faults(sql, tables)) for name, sql in statements().items()}
    wrong = {name: each for name, each in found.items() if each and name not in EXCEPTIONS}
    assert not wrong, "\n".join(f"{name}: {'; '.join(each)}" for name, each in wrong.items())


async def test_every_exception_is_one(fresh_database: str) -> None:
    tables = await tenant_tables(fresh_database)
    for name in EXCEPTIONS:
        assert name in statements(), f"{name} is no statement any more"
        assert list(faults(statements()[name], tables)), f"{name} needs no exception"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM recordings WHERE id = $1",
        "SELECT r.id FROM recordings r JOIN media m ON m.recording_id = r.id WHERE r.world_id = $1",
        "UPDATE devices SET name = $1 WHERE id = $2",
        "DELETE FROM media WHERE id = $1",
        "INSERT INTO end_users (id, name) VALUES ($1, $2)",
        "SELECT id, world_id FROM devices WHERE id = $1",
        "SELECT m.id FROM unnest($1::text[]) AS asked (id) JOIN media m ON m.id = asked.id",
        "SELECT m.id FROM unnest($1, $2) AS asked (world_id, id) JOIN media m ON m.id = asked.id",
        "WITH gone AS (DELETE FROM media WHERE id = $1 RETURNING id) SELECT id FROM gone",
    ],
)
async def test_a_forgotten_world_is_noticed(fresh_database: str, statement: str) -> None:
    assert list(faults(statement, await tenant_tables(fresh_database)))


def test_there_are_statements_of_every_slice() -> None:
    # A slice is lapel.slices.NAME; its statements may be in one of its packages.
    slices = {".".join(name.split(".")[:3]) for name in statements() if "queries." in name}
    assert {f"lapel.slices.{each.name}" for each in app.SLICES if each.tables} <= slices
    assert len(statements()) > 60


def test_all_sql_is_a_named_constant() -> None:
    """A statement written in the middle of a function escapes the test above."""
    for path in sorted(Path(lapel.__file__).parent.rglob("*.py")):
        if "migrations" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            id(part)
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for part in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in constants:
                text = node.value
                sql = re.match(
                    r"\s*(SELECT\s.+|INSERT INTO\s.+|UPDATE\s.+\sSET\s.+|DELETE FROM\s.+)", text, re.DOTALL
                )
                assert not sql, f"{path}:{node.lineno}: {text[:60]!r} is SQL; give it a name in queries.py"


# The tables without a world. Their slices say why (`Table.shared`); a new one has to be added here, too.
WITHOUT_WORLD = {
    "alembic_version",
    "document_signing_keys",
    "findings",
    "installation_secret",
    "token_peppers",
    "job_starts",
    "key_caches",
    "organization_config_overrides",
    "organizations",
    "projects",
    "rate_windows",
    "retention_counts",
    "upload_policy_counters",
    "walks",
    "workers",
    "worlds",
}


# Where a statement is no public constant, which the tests of tenancy and of owners would find, and why.
NO_CONSTANT = {
    "foundation/database/schema/new_schema.py": "the script that makes all tables, before there is a row",
    "foundation/database/rows.py": "its functions get the statement from their callers, which are looked at",
    "foundation/queue/death_charges.py": "its statements are constants of slices: CHARGE, TAKE_BACK",
    "slices/recordings/uploads/media_states.py": "`_change` gets it from its callers: constants of this file",
    "foundation/database/connection.py": "the statement of the caller, passed on with the time limits",
    "slices/system/jobs.py": "one after the other of a list of public constants",
}
# The place of the statement among the arguments of a method of a connection, and of a function of `rows.py`.
_STATEMENT: dict[str, int] = {
    **dict.fromkeys(("execute", "executemany", "fetch", "fetchrow", "fetchval"), 0),
    **dict.fromkeys(("fetch_row", "fetch_rows", "fetch_only_row"), 2),
    **dict.fromkeys(("fetch_value", "fetch_only_value", "fetch_values"), 2),
}


def test_what_is_executed_is_a_public_constant() -> None:
    source = Path(lapel.__file__).parent
    found: set[str] = set()
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "migrations" not in path.parts:
                name = ast.unparse(node.func).rpartition(".")[2]
                place = _STATEMENT.get(name, len(node.args))
                if not all(is_public_constant(each) for each in node.args[place : place + 1]):
                    found.add(str(path.relative_to(source)))
    assert found == set(NO_CONSTANT)


@cache
def names_of_statements() -> set[str]:
    """The names of the public constants that are statements, without their modules."""
    names = {name.partition("[")[0].rpartition(".")[2] for name in statements()}
    return {name for name in names if not name.startswith("_")}


def is_public_constant(node: ast.expr) -> bool:
    """Whether a statement is a public constant, one of two, one of a dict, or one with its blanks filled."""
    match node:
        case ast.Name(name) | ast.Attribute(_, name):
            return name in names_of_statements()
        case ast.IfExp(_, one, other):
            return is_public_constant(one) and is_public_constant(other)
        case ast.Subscript(constant) | ast.Call(ast.Attribute(constant, "format")):
            return is_public_constant(constant)
        case _:
            return False


async def test_every_table_belongs_to_a_world_or_says_why_not(fresh_database: str) -> None:
    assert await without_world(fresh_database) == WITHOUT_WORLD
    assert {table.name for table in declared_services().tables if table.shared} == WITHOUT_WORLD


async def test_references_between_tenants_tables_carry_the_world(fresh_database: str) -> None:
    tables = await tenant_tables(fresh_database)
    references = await rows(
        fresh_database,
        """
        SELECT c.conrelid::regclass::text AS source, c.confrelid::regclass::text AS target,
               array_agg(a.attname::text ORDER BY k.at) AS columns
        FROM pg_constraint c
        CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k (number, at)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
        WHERE c.contype = 'f' GROUP BY c.oid, 1, 2
        """,
    )
    between = [row for row in references if row["target"] in tables]
    assert len(between) > 5
    for row in between:
        assert row["columns"][0] == "world_id", f"{row['source']} -> {row['target']}: {row['columns']}"


async def test_ids_and_hashes_compare_byte_by_byte(fresh_database: str) -> None:
    loose = await rows(
        fresh_database,
        """
        SELECT c.relname || '.' || a.attname AS column
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_collation l ON l.oid = a.attcollation
        WHERE n.nspname = 'public' AND c.relkind = 'r' AND (a.attname = 'id' OR a.attname LIKE '%_id')
          AND l.collname <> 'C' AND c.relname <> 'alembic_version'
        """,
    )
    # A request's id is written down and never looked for.
    assert {row["column"] for row in loose} - {"audit_log.request_id"} == set()
