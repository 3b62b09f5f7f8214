"""No statement of the product sees a deleted device."""

from __future__ import annotations

import re

import pytest

from tests.support.statements import statements

# Statements on devices that say nothing of deletion, and why that is right.
EXCEPTIONS: dict[str, str] = {
    "lapel.slices.configuration.queries.RAISE_DEVICES": "its callers hold the devices' rows, found alive",
    "lapel.slices.devices.tokens.lookup_queries.LOCK_DEVICE": "follows a token; deleted devices have none",
}

_READS = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+devices\b", re.IGNORECASE)


def forgets(statement: str) -> bool:
    """Whether it touches devices and would show or change a deleted one."""
    text = re.sub(r"--[^\n]*", "", statement)
    return bool(_READS.search(text)) and not re.search(r"deleted_at IS NULL", text, re.IGNORECASE)


def test_every_statement_passes_deleted_devices_over() -> None:
    # A private constant is a piece of the others.
    whole = {name: sql for name, sql in statements().items() if "._" not in name}
    touching = {name: sql for name, sql in whole.items() if _READS.search(sql)}
    assert len(touching) > 15
    forgetting = {name for name, sql in touching.items() if forgets(sql)}
    assert forgetting - set(EXCEPTIONS) == set()
    assert set(EXCEPTIONS) <= forgetting


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM devices WHERE world_id = $1",
        "UPDATE devices SET name = '' WHERE world_id = $1 AND id = $2",
    ],
)
def test_a_forgotten_filter_is_noticed(statement: str) -> None:
    assert forgets(statement)
    assert not forgets(f"{statement} AND deleted_at IS NULL")
