"""The slice of claims, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.claims.service import ClaimJudge
from lapel.slices.embeddings.service import Embeddings

SLICE = Slice(name="claims", build=lambda services: (ClaimJudge(services[Embeddings]),))
