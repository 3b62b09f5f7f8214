"""The slice of providers, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table

SLICE = Slice(
    name="providers",
    tables=(Table("provider_slots"),),  # the operator's settings
)
