"""The slice of language models, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice, Table
from lapel.slices.language_models.service import LanguageModels

SLICE = Slice(
    name="language_models",
    build=lambda services: (LanguageModels(services.ports),),
    crash_points=("language-model:joining", "language-model:joined"),
    tables=(
        Table("language_usage"),  # one row per world and day, without text
        Table("language_reservations"),  # one row per running call, without text
    ),
)
