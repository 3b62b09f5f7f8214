"""All SQL of legal holds."""

from __future__ import annotations


def held(row: str) -> str:
    """SQL for other slices: true if a legal hold keeps the recording of a row from being erased.

    The hold is the recording's own, or its end user's. `row`: the alias of the row's table, which has the
    columns `world_id`, `id` (the recording's) and `end_user_id`. Costs one look-up in the index of active
    holds.
    """
    return f"""EXISTS (
    SELECT FROM holds h WHERE h.world_id = {row}.world_id AND h.resource_id IN ({row}.id, {row}.end_user_id)
      AND h.released_at IS NULL)"""
