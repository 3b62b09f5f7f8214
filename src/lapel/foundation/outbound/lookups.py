"""Looks up host names in threads of its own, which a name server that never answers cannot use up.

The system's `getaddrinfo` has no time limit and cannot be cancelled. The event loop runs it in the default
thread pool, where a few hanging names would delay everybody's files and look-ups. Here each look-up has a
daemon thread, so that a process can end although a look-up hangs. The number of threads is limited, and it is
limited further for the names of one domain, because the owner of a domain can make many names that hang.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakValueDictionary

# Called in a thread with a host name; returns addresses as text. Raises OSError when the name has none.
Lookup = Callable[[str], Sequence[str]]

_MOST = 64
_MOST_OF_A_DOMAIN = 8


def system_lookup(host: str) -> Sequence[str]:
    """The addresses of a name that this system knows, with a zone if they have one. Raises OSError."""
    # AI_ADDRCONFIG: no IPv6 addresses on a machine without IPv6, and the other way round.
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [f"{at[0]}%{at[3]}" if len(at) == 4 and at[3] else str(at[0]) for *_, at in found]


class Lookups:
    """Looks up names for one event loop. `seconds`: how long a caller waits.

    Callers that ask for a name while its look-up runs share that look-up. No answer is kept after that.
    """

    def __init__(self, lookup: Lookup, seconds: float) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._running: dict[str, asyncio.Future[Sequence[str] | OSError]] = {}
        self._threads = asyncio.Semaphore(_MOST)
        self._of_domain: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a name. Raises OSError when it has none, TimeoutError after `seconds`."""
        async with asyncio.timeout(self._seconds):
            answer = self._running.get(host)
            if answer is None:
                answer = await self._started(host)
            # A caller that gives up leaves the look-up to the others.
            found = await asyncio.shield(answer)
        if isinstance(found, OSError):
            raise found
        return found

    async def _started(self, host: str) -> asyncio.Future[Sequence[str] | OSError]:
        name = ".".join(host.rstrip(".").split(".")[-2:])
        domain = self._of_domain.setdefault(name, asyncio.Semaphore(_MOST_OF_A_DOMAIN))
        await domain.acquire()
        try:
            await self._threads.acquire()
        except asyncio.CancelledError:
            domain.release()
            raise
        answer = self._running.get(host)
        if answer is not None:  # another caller started it meanwhile
            self._release(domain)
            return answer
        loop = asyncio.get_running_loop()
        answer = self._running[host] = loop.create_future()

        def end(found: Sequence[str] | OSError) -> None:
            del self._running[host]
            self._release(domain)
            answer.set_result(found)

        thread = threading.Thread(
            target=_run, args=(self._lookup, host, loop, end), name="name look-up", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            end(OSError("the system has no thread left to look up the name"))
        return answer

    def _release(self, domain: asyncio.Semaphore) -> None:
        self._threads.release()
        domain.release()


def _run(
    lookup: Lookup,
    host: str,
    loop: asyncio.AbstractEventLoop,
    end: Callable[[Sequence[str] | OSError], None],
) -> None:
    found: Sequence[str] | OSError = OSError("the look-up of the name failed")
    try:
        found = lookup(host)
    except OSError as fault:
        found = fault
    except UnicodeError:  # a label longer than 63 characters
        found = OSError("the name is not valid")
    finally:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, found)
