"""Looks up host names in threads of its own, which a name server that never answers cannot use up.

The system's `getaddrinfo` has no time limit and cannot be cancelled. The event loop runs it in the default
thread pool, where a few hanging names would delay everybody's files and look-ups. Here each look-up has a
daemon thread, so that a process can end although a look-up hangs. The number of threads is limited, in all
and for one tenant, because a tenant can make many names that hang.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar

from lapel.foundation.core.admission import Admission, NoRoom

# Called in a thread with a host name; returns addresses as text. Raises OSError when the name has none.
Lookup = Callable[[str], Sequence[str]]

# The tenant (its world) for whom the present task calls; 0 for calls of the operator's own.
TENANT: ContextVar[int] = ContextVar("tenant", default=0)
_MOST = 64
_MOST_OF_A_TENANT = 8


def system_lookup(host: str) -> Sequence[str]:
    """The addresses of a name that this system knows, with a zone if they have one. Raises OSError."""
    # AI_ADDRCONFIG: no IPv6 addresses on a machine without IPv6, and the other way round.
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [f"{at[0]}%{at[3]}" if len(at) == 4 and at[3] else str(at[0]) for *_, at in found]


class LookupNotMade(OSError):
    """Nothing is known about a name, because no thread was free to look it up."""


class Lookups:
    """Looks up names for one event loop. `seconds`: how long a caller waits; half of it for a thread.

    Callers of one tenant that ask for a name while its look-up runs share that look-up. No answer is kept
    after that.
    """

    def __init__(self, lookup: Lookup, seconds: float) -> None:
        self._lookup = lookup
        self._seconds = seconds
        self._running: dict[tuple[int, str], asyncio.Task[Sequence[str] | OSError]] = {}
        self._threads = Admission(_MOST, _MOST_OF_A_TENANT, patience=seconds / 2)

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of a name.

        Raises OSError when it has none, LookupNotMade when other look-ups of the tenant take all its threads,
        and TimeoutError after `seconds`.
        """
        key = TENANT.get(), host
        async with asyncio.timeout(self._seconds):
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = asyncio.create_task(self._looked_up(*key))
                running.add_done_callback(lambda _: self._running.pop(key))
            # A caller that gives up leaves the look-up to the others.
            found = await asyncio.shield(running)
        if isinstance(found, OSError):
            raise found
        return found

    async def _looked_up(self, tenant: int, host: str) -> Sequence[str] | OSError:
        try:
            async with self._threads.place(tenant):
                return await self._in_a_thread(host)
        except NoRoom:
            return LookupNotMade("too many names are looked up at once")

    async def _in_a_thread(self, host: str) -> Sequence[str] | OSError:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str] | OSError] = loop.create_future()

        def end(found: Sequence[str] | OSError) -> None:
            if not answer.done():  # cancelled, because the loop ends
                answer.set_result(found)

        thread = threading.Thread(
            target=_run, args=(self._lookup, host, loop, end), name="name look-up", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            return LookupNotMade("the system has no thread left to look up the name")
        return await answer


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
