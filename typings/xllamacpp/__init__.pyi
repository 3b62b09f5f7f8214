from collections.abc import Callable, Mapping
from typing import Any

class CommonParamsModel:
    path: str

class CpuParams:
    n_threads: int

class CommonParams:
    model: CommonParamsModel
    cpuparams: CpuParams
    cpuparams_batch: CpuParams
    n_ctx: int
    n_parallel: int
    n_batch: int
    n_ubatch: int
    n_threads_http: int
    n_gpu_layers: int
    cache_ram_mib: int
    enable_reasoning: int
    verbosity: int
    hostnames: list[str]
    api_keys: list[str]
    endpoint_slots: bool
    ui: bool
    warmup: bool
    no_extra_bufts: bool

def json_schema_to_grammar(schema: Mapping[str, object]) -> str: ...

class Server:
    def __init__(self, params: CommonParams) -> None: ...
    def handle_chat_completions(
        self, body: Mapping[str, object], callback: Callable[[dict[str, Any]], bool]
    ) -> None: ...
