"""What every test process needs and one may prepare for all: each process prepares a share.

Without it, in a new clone each process would do all of it: they come to each file at the same time.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from _pytest.assertion import rewrite
from hypothesis.internal.constants_ast import constants_from_module


def share(config: pytest.Config) -> tuple[int, int]:
    """The number of this test process, and how many there are."""
    told: dict[str, str | int] = getattr(config, "workerinput", {"workerid": "gw0", "workercount": 1})
    return int(str(told["workerid"]).removeprefix("gw")), int(told["workercount"])


def compile_tests(config: pytest.Config) -> None:
    """Rewrites and keeps, as pytest does when it imports them, test files that were never compiled."""
    number, count = share(config)
    if count == 1 or sys.dont_write_bytecode or config.getoption("assertmode") != "rewrite":
        return
    paths = {Path(each.partition("::")[0]) for each in config.args}
    found = sorted({file for path in paths for file in path.resolve().rglob("test_*.py")})
    for file in found[number::count]:
        compiled = rewrite.get_cache_dir(file) / f"{file.stem}{rewrite.PYC_TAIL}"
        # What is wrong with a file is told when it is imported.
        with suppress(OSError, SyntaxError):
            if not compiled.exists():
                compiled.parent.mkdir(exist_ok=True)
                status, code = rewrite._rewrite_test(file, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, status, compiled)


def find_constants(config: pytest.Config) -> None:
    """Has Hypothesis read the constants of Lapel's modules, from which it draws; it keeps them."""
    number, count = share(config)
    for module in [each for name, each in sys.modules.items() if name.startswith("lapel.")][number::count]:
        constants_from_module(module)
