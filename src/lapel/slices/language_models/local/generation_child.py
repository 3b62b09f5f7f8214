"""The process that holds the language model.

Started as `python -m lapel.slices.language_models.local.generation_child` by a WorkerProcess, which passes
as arguments: the GGUF file, an empty folder that all may write, the tokens of the window, and the number of
threads.

llama.cpp is called through xllamacpp, whose Server opens a listener for HTTP. The listener is a Unix socket
in the folder. Its file is removed before the first prompt is read, so no program can connect.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from lapel.foundation.workers import kernel_calls
from lapel.foundation.workers.parent_death import keep_one_heap
from lapel.foundation.workers.sandbox import confine
from lapel.foundation.workers.worker_child import Refusal, answer_requests
from lapel.slices.language_models.local.generation_messages import Finished, Generate, Load, Loaded
from lapel.slices.language_models.local.gguf import read_facts

if TYPE_CHECKING:
    import xllamacpp

Tell: TypeAlias = Callable[[float | str], None]

_SOCKET = "model.sock"
# JSON on one line, with spaces as models are used to. With llama.cpp's own `response_format` the model adds
# line breaks and indentation: an answer took 48 tokens that takes 33 so. Source: docs/json_schema.md of
# llguidance.
_SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
# Small models repeat sentences until the answer is cut off. This makes a token less likely, the longer the
# sequence is that it would repeat: beyond 32 tokens, of the last 512, so that it may quote what was said. No
# sequence goes beyond a quotation mark. Source: `dry_multiplier` in the README of llama.cpp's server.
_NO_REPETITION = {
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 32,
    "dry_penalty_last_n": 512,
}
# Tokens of a prompt that are read at a time. Only between two batches can the work be interrupted.
_BATCH = 64


class _Interruption:
    """Whether the parent has asked, by a signal, to end the present answer early."""

    def __init__(self) -> None:
        self.wanted = False
        signal.signal(signal.SIGUSR1, self._want)

    def _want(self, _number: int, _frame: object) -> None:
        self.wanted = True


class _Chunks:
    """Collects what llama.cpp tells about one answer."""

    def __init__(self, tell: Tell, interruption: _Interruption) -> None:
        self._tell = tell
        self._interruption = interruption
        self.error: Mapping[str, Any] | None = None
        self.reason: Literal["stop", "length"] | None = None
        self.usage: Mapping[str, Any] = {}
        self.said: list[str] = []

    def hear(self, chunk: Mapping[str, Any]) -> bool:
        """Takes a chunk, in the form of Chat Completions. True: llama.cpp stops."""
        self.error = chunk.get("error") or self.error
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            if text := choice["delta"].get("content"):
                self._tell(text)
                self.said.append(text)
            if reason := choice.get("finish_reason"):
                self.reason = "length" if reason == "length" else "stop"
        return self._interruption.wanted


class _ChildModel:
    """The model, loaded for the first request."""

    def __init__(self, file: Path, context_tokens: int, threads: int) -> None:
        self._file = file
        self._context_tokens = context_tokens
        self._threads = threads
        self._server: xllamacpp.Server | None = None
        self._control = re.compile("(?!)")
        self._interruption = _Interruption()

    def answer(self, request: Load | Generate, tell: Tell) -> Loaded | Finished:
        self._interruption.wanted = False
        if isinstance(request, Load):
            began = time.monotonic()
            self._loaded()
            return Loaded(time.monotonic() - began)
        return self._generate(request, tell)

    def _loaded(self) -> xllamacpp.Server:
        if self._server is None:
            if names := read_facts(self._file).control_tokens:
                self._control = re.compile("|".join(re.escape(each) for each in names))
            Path(_SOCKET).unlink(missing_ok=True)  # of a process that was killed
            self._server = _load(self._file, self._context_tokens, self._threads)
            Path(_SOCKET).unlink()
            # From now on nothing needs a socket. The first call of `confine` could not yet refuse it.
            with contextlib.suppress(OSError):
                kernel_calls.refuse_calls(kernel_calls.denied())
        return self._server

    def _generate(self, request: Generate, tell: Tell) -> Finished:
        server = self._loaded()
        answer = _Chunks(tell, self._interruption)
        try:
            server.handle_chat_completions(self._body(request), answer.hear)
        except ValueError as fault:  # no tokens of this model make the grammar
            raise Refusal("engine", f"The local model cannot answer in this form: {fault}") from None
        if answer.error is not None:
            too_long = answer.error.get("type") == "exceed_context_size_error"
            raise Refusal(
                "context" if too_long else "engine", f"The local model: {answer.error.get('message')}."
            )
        if answer.reason is None and not self._interruption.wanted:
            raise Refusal("engine", "The local model ended its answer without a reason.")
        if request.prompt.schema is not None and answer.reason == "stop" and not _is_json(answer.said):
            # llama.cpp only logs that a schema cannot become a grammar, and answers without one.
            raise Refusal(
                "engine", "The local model cannot answer in this form: the schema is not supported."
            )
        usage = answer.usage
        details: Mapping[str, Any] = usage.get("prompt_tokens_details") or {}
        return Finished(
            finish_reason=answer.reason or "interrupted",
            input=usage.get("prompt_tokens"),
            output=usage.get("completion_tokens"),
            cached=details.get("cached_tokens"),
        )

    def _body(self, request: Generate) -> dict[str, object]:
        prompt = request.prompt
        messages = [("system", prompt.instructions), *((each.role, each.text) for each in prompt.messages)]
        body: dict[str, object] = {
            "messages": [{"role": role, "content": self._plain(text)} for role, text in messages],
            "max_tokens": max(1, min(prompt.max_tokens, self._context_tokens)),
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # a call of `hear` after each batch of the prompt
            "cache_prompt": request.reuse,
            **_NO_REPETITION,
        }
        if prompt.schema is not None:
            import xllamacpp  # noqa: PLC0415  # loaded already

            body["grammar"] = xllamacpp.json_schema_to_grammar({**prompt.schema, "x-guidance": _SEPARATORS})
        return body

    def _plain(self, text: str) -> str:
        """The text without tokens of control, which would end a message and begin one of another role."""
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _is_json(said: Sequence[str]) -> bool:
    try:
        msgspec.json.decode("".join(said))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _load(file: Path, context_tokens: int, threads: int) -> xllamacpp.Server:
    import xllamacpp  # noqa: PLC0415  # 100 MB: after the limits are in force

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx = context_tokens
    params.n_parallel = 1
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.hostnames = [_SOCKET]
    params.api_keys = [secrets.token_hex(32)]
    params.n_threads_http = 1
    params.endpoint_slots = params.ui = params.warmup = False
    params.cache_ram_mib = 0
    # The weights stay in the mapped file, whose memory the kernel can take back: 0.3 GB of anonymous memory
    # in place of 0.9 GB. Prompts are read as fast, and answers written at three quarters of the speed.
    params.no_extra_bufts = True
    params.n_gpu_layers = 0
    params.enable_reasoning = 0
    params.verbosity = 1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as fault:
        raise Refusal(
            "engine", f"The local model cannot be loaded from {file}; the server's log says why ({fault})"
        ) from None


def main(arguments: list[str]) -> None:
    """Answer requests until the parent is gone. `arguments`: the command line, set by WorkerProcess."""
    told, name, folder, context_tokens, threads = arguments
    keep_one_heap()
    file = Path(name)
    os.chdir(folder)
    confine([file], [Path(folder)], still={"socket", "bind", "listen"})
    model = _ChildModel(file, int(context_tokens), int(threads))
    answer_requests(Load | Generate, model.answer, told)


if __name__ == "__main__":
    main(sys.argv[1:])
