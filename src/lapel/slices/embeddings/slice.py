"""The slice of embeddings, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.embeddings.service import Embeddings

SLICE = Slice(name="embeddings", build=lambda services: (Embeddings(services.ports.settings),))
