# onnxruntime 1.23 to 1.32, which brings no types: what we call of it.
from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

class OrtValue:
    @staticmethod
    def ortvalue_from_numpy(numpy_obj: NDArray[np.float32]) -> OrtValue: ...

class GraphOptimizationLevel(Enum):
    ORT_ENABLE_BASIC = 1

class SessionOptions:
    graph_optimization_level: GraphOptimizationLevel
    intra_op_num_threads: int
    inter_op_num_threads: int
    log_severity_level: int
    def add_external_initializers(self, names: Sequence[str], values: Sequence[OrtValue]) -> None: ...
    def add_session_config_entry(self, key: str, value: str) -> None: ...

class InferenceSession:
    def __init__(
        self, path_or_bytes: str | bytes, sess_options: SessionOptions, providers: Sequence[str]
    ) -> None: ...
    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]: ...
