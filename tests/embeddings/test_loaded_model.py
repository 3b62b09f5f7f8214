"""The model in this process, without a child around it."""

from __future__ import annotations

import pytest

from lapel.slices.embeddings.failures import NoEmbeddings
from lapel.slices.embeddings.model import loaded_model
from lapel.slices.embeddings.model.encoder_graph import encoder_graph
from lapel.slices.embeddings.model.model_files import installed_model
from lapel.slices.embeddings.model.weights_file import WeightsFile
from tests.embeddings.needs import needs_model


@needs_model
def test_an_onnxruntime_without_the_operator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    files = installed_model()
    assert files is not None

    def of_another_version(weights: WeightsFile) -> bytes:
        return encoder_graph(weights).replace(b"MatMulNBits", b"MatMulNBitz")

    monkeypatch.setattr(loaded_model, "encoder_graph", of_another_version)
    model = loaded_model.LoadedModel(files.weights, 1)
    with pytest.raises(NoEmbeddings, match=r"does not load on this machine: .*MatMulNBitz"):
        model.start()
