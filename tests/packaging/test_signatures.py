"""The check of signatures finds records and too many arguments, and is content with the project."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

GOOD = """
async def row(connection, kind) -> KeyRow | None:
    record: asyncpg.Record = await connection.fetchrow("")
    return None


def formatted(record: logging.LogRecord) -> logging.LogRecord:
    return record


def nine(a, b, c, d, /, e, f, g, h, i, *, j, k) -> None: ...


class Thing:
    def nine(self, a, b, c, d, e, f, g, h, *rest) -> None: ...
"""
BAD = """
async def one(connection) -> asyncpg.Record | None: ...


def many() -> "dict[str, list[asyncpg.Record]]": ...


class Thing:
    async def imported(self) -> Sequence[Record]:
        def inner(a, b, c, d, e, /, f, g, h, i, j): ...

    @classmethod
    def rest(cls, a, b, c, d, e, f, g, h, i, *rest): ...
"""
RECORD = "returns a record: return a row, made by foundation/database/rows.py"
TEN = "takes 10 arguments by position, and 9 are allowed: make them one object, or pass them by name"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "check_signatures.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_record_and_each_long_signature_is_told(tmp_path: Path) -> None:
    package = tmp_path / "src" / "thing"
    package.mkdir(parents=True)
    (package / "good.py").write_text(GOOD)
    assert check(str(tmp_path)).stderr == ""
    assert check(str(tmp_path)).returncode == 0
    (package / "bad.py").write_text(BAD)
    (package / "key_queries.py").write_text("async def insert(connection, *values): ...")
    told = check(str(tmp_path))
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        f"src/thing/bad.py:2: one {RECORD}",
        f"src/thing/bad.py:5: many {RECORD}",
        f"src/thing/bad.py:9: imported {RECORD}",
        f"src/thing/bad.py:10: inner {TEN}",
        f"src/thing/bad.py:13: rest {TEN}",
        "src/thing/key_queries.py:1: insert takes *values: name each argument, or make them one object",
    ]


def test_the_project_has_no_such_signature() -> None:
    told = check()
    assert told.stderr == ""
    assert told.returncode == 0
