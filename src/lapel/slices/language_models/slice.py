"""The slice of language models, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.language_models.service import LanguageModels

SLICE = Slice(
    name="language_models",
    build=lambda services: (LanguageModels(services.ports),),
)
