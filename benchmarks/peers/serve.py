"""One peer in one process: `python -m benchmarks.peers.serve MODULE PORT`.

uvicorn as Lapel uses it (uvloop, httptools, no access log, no Server header, the same keep-alive), but
without Lapel's own limits on slow and oversized requests.
"""

from __future__ import annotations

import gc
import importlib
import sys

import uvicorn

from lapel.hosting.listener import KEEP_ALIVE
from lapel.hosting.sockets import BACKLOG


def main() -> None:
    """Serve until a signal."""
    application = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}").app
    gc.collect()
    gc.freeze()
    uvicorn.run(
        application,
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )


if __name__ == "__main__":
    main()
