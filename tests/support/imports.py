"""What the fork server imports before its first fork, so that no forked process has to."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil

import lapel

# The command line looks at its arguments when it is imported. The libraries of the models and of FFmpeg are
# large, start threads, and run in children of their own.
LEFT_OUT = (
    "lapel.cli.main",
    "lapel.foundation.database.migrations.",
    "lapel.slices.transcription.audio.",
    "lapel.slices.transcription.models.",
    "lapel.slices.transcription.providers.encoding",
)


def _import_all() -> None:
    for module in pkgutil.walk_packages(lapel.__path__, "lapel."):
        if not module.name.startswith(LEFT_OUT):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread: only the one that forks goes on in the new process
gc.disable()
_import_all()
gc.freeze()  # the pages of what was imported stay shared
gc.enable()
