"""What a test of embeddings needs."""

from __future__ import annotations

import pytest

from lapel.slices.embeddings.model.model_files import installed_model

needs_model = pytest.mark.skipif(installed_model() is None, reason="the embedding model is not installed")
