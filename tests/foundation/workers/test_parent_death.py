"""What a process asks of the system for itself."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Threads that allocate side by side; then the C library writes down its heaps.
THREADS = """
import ctypes, sys, threading
from lapel.foundation.workers.parent_death import keep_one_heap
{before}
kept, together = [], threading.Barrier(4)
def allocate():
    together.wait()
    kept.append([bytes(2000 + i) for i in range(2000)])
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has several heaps")
@pytest.mark.parametrize(("before", "one"), [("keep_one_heap()", True), ("", False)])
def test_threads_share_one_heap_that_gives_back_what_it_held(tmp_path: Path, before: str, one: bool) -> None:
    written = tmp_path / "heaps.xml"
    subprocess.run([sys.executable, "-c", THREADS.format(before=before), str(written)], check=True)
    assert (written.read_text().count("<heap nr=") == 1) is one
