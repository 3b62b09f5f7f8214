"""HTTP calls to remote providers. Files are streamed from the disk, and the size of an answer is limited.

All faults become ProviderFailed or ProviderAway. A key is sent to the configured address and nowhere else,
and this address must be public or in a network of the settings (`foundation/outbound`). Neither keys nor
content are logged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from lapel.foundation.outbound.guarded_connector import ForbiddenAddress
from lapel.foundation.outbound.outbound_client import OutboundClient, open_client
from lapel.slices.providers.http.account import broken
from lapel.slices.providers.http.http_errors import ProviderRefusal, judged
from lapel.slices.providers.http.sending import FileUpload, body_of
from lapel.slices.providers.provider_failures import ProviderAway

if TYPE_CHECKING:
    from types import TracebackType

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.providers.http.account import Account
    from lapel.slices.providers.provider_failures import RefusedForGood

T = TypeVar("T")
# Bytes that are read of an error answer.
_REFUSAL_BYTES = 64 * 1024
_GRACE = 60.0
# Seconds that a cancelled caller waits for work that must not be left half done. A worker that stops has
# three seconds.
_LAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Limits of a call: times in seconds, and the size of the answer in bytes."""

    connect: float = 20.0
    # While a file is being sent: the longest time without progress.
    stall: float = 60.0
    # From the end of the request to the end of the answer. A provider that answers in one call takes minutes.
    # The provider with the longest limit of its own ends after twenty minutes (Deepgram's Whisper models).
    # This limit is a minute longer.
    answer: float = 21 * 60.0
    # For a whole call, and for all polls of a transcript together.
    total: float = 4 * 3600.0
    answer_bytes: int = 64 * 1024 * 1024
    # The longest pause that a provider may ask for.
    longest_pause: float = 3600.0
    # Time between two polls: the first, and the longest.
    first_poll: float = 3.0
    longest_poll: float = 20.0


class Service:
    """A connection to one provider, inside an `async with`."""

    def __init__(self, account: Account, clock: Clock, patience: Patience, policy: OutboundPolicy) -> None:
        self.account = account
        # If the provider itself gives up after some time, wait a minute longer than that.
        limit = patience.answer if account.gives_up is None else account.gives_up + _GRACE
        self.patience = replace(patience, answer=min(patience.answer, limit))
        self._clock = clock
        self._policy = policy
        self._client: OutboundClient | None = None

    async def __aenter__(self) -> Self:
        self._client = open_client(
            self._policy,
            total=None,
            connect=self.patience.connect,
            lookup_seconds=self.patience.connect,
            headers={"User-Agent": "lapel", "Accept": "application/json", **self.account.headers},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def ask(
        self,
        method: str,
        path: str,
        shape: type[T],
        *,
        query: Sequence[tuple[str, str]] | None = None,
        send: FileUpload | bytes | None = None,
    ) -> T:
        """Send a request and return the JSON answer, decoded as `shape`. `send`: a file, or JSON as bytes.

        Raises ProviderFailed when another try cannot help: `RefusedForGood` when the provider refuses, a
        plain one when the policy does not allow the provider's address. Raises ProviderAway for all other
        faults of the provider: no connection, no answer in time, an unreadable answer, or a refusal that may
        pass. Raises OSError when the file cannot be read.
        """
        content = await self._call(method, path, query or (), send)
        try:
            # In a thread, because decoding many megabytes takes a while.
            return await asyncio.to_thread(msgspec.json.decode, content, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise self.account.unreadable(str(fault)) from fault

    @asynccontextmanager
    async def opened(
        self, path: str, content: bytes, query: Sequence[tuple[str, str]] = ()
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """POST JSON and open the answer, whose body the block reads piece by piece.

        The answer must begin within `patience.answer` seconds; the block limits the rest. The end of the
        block ends the call. Raises what `ask` raises, also for faults of the connection within the block.
        """
        url = URL(f"{self.account.base_url}{path}").with_query(query)
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        with self._faults():
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self.patience.answer):
                    response = await stack.enter_async_context(
                        self._opened_client().request("POST", url, data=content, headers=headers)
                    )
                    stack.callback(response.close)
                    if not 200 <= response.status < 300:
                        raise await self._refusal(response, 0.0)
                yield response

    async def tell(self, method: str, path: str) -> None:
        """Send a request and ignore the answer's body. Raises what `ask` raises."""
        await self._call(method, path, (), None)

    async def _call(
        self, method: str, path: str, query: Sequence[tuple[str, str]], send: FileUpload | bytes | None
    ) -> bytes:
        client = self._opened_client()
        url = URL(f"{self.account.base_url}{path}").with_query(query)
        watch = _Watch(self.patience)
        body = await body_of(send, watch) if isinstance(send, FileUpload) else send
        headers = {"Content-Type": "application/json"} if isinstance(send, bytes) else {}
        with self._faults():
            async with (
                watch.over(sending=isinstance(send, FileUpload)),
                client.request(method, url, data=body, headers=headers) as response,
            ):
                try:
                    return await self._content(response, watch)
                finally:
                    response.close()  # stops a file that is still being sent

    def _opened_client(self) -> OutboundClient:
        if self._client is None:
            raise RuntimeError("a service is used in `async with`")
        return self._client

    @contextlib.contextmanager
    def _faults(self) -> Generator[None]:
        """Raises ProviderAway and ProviderFailed in place of the connection's faults."""
        try:
            yield
        except TimeoutError as fault:
            raise ProviderAway(f"{self.account.name} did not answer in time.", how="timed_out") from fault
        except ForbiddenAddress as fault:
            raise self.account.forbidden() from fault
        except aiohttp.ClientError as fault:
            raise ProviderAway(f"{self.account.name} {broken(fault)}.", how="connection") from fault

    async def _content(self, response: aiohttp.ClientResponse, watch: _Watch) -> bytes:
        if 200 <= response.status < 300:
            content = await _read(response, self.patience.answer_bytes)
            if len(content) > self.patience.answer_bytes:
                raise self.account.unreadable("it is too long")
            return content
        raise await self._refusal(response, watch.waited)

    async def _refusal(
        self, response: aiohttp.ClientResponse, waited: float
    ) -> RefusedForGood | ProviderAway:
        content = (await _read(response, _REFUSAL_BYTES))[:_REFUSAL_BYTES]
        return self.judge(response.status, content, response.headers, waited)

    def judge(
        self, status: int, content: bytes, headers: Mapping[str, str] | None = None, waited: float = 0.0
    ) -> RefusedForGood | ProviderAway:
        """The error for a refusal, such as one inside an answer that began well."""
        refusal = ProviderRefusal(status=status, content=content, headers=headers or {}, waited=waited)
        return judged(self.account, refusal, self._clock.now(), self.patience.longest_pause)


async def to_its_end(work: Awaitable[T]) -> T:
    """Await short work that must not be left half done. If the caller is cancelled, the work gets 2 s more.

    Raises what the work raises.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_LAST_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


class _Watch:
    """The time limit of one call; it is extended while a file is being sent."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._limit: asyncio.Timeout | None = None
        self._sent_at = asyncio.get_running_loop().time()
        self._end = self._sent_at + patience.total

    def over(self, *, sending: bool) -> asyncio.Timeout:
        """The limit as a context manager, to be entered once."""
        self._limit = asyncio.timeout_at(
            self._after(self._patience.stall if sending else self._patience.answer)
        )
        return self._limit

    def moved(self) -> None:
        """Part of the file was sent."""
        self._move(self._patience.stall)

    def sent(self) -> None:
        """The whole file was sent."""
        self._sent_at = asyncio.get_running_loop().time()
        self._move(self._patience.answer)

    @property
    def waited(self) -> float:
        """Seconds since the request was sent completely."""
        return asyncio.get_running_loop().time() - self._sent_at

    def _move(self, seconds: float) -> None:
        # The writer may report progress after the call has ended.
        if self._limit is not None:
            with contextlib.suppress(RuntimeError):
                self._limit.reschedule(self._after(seconds))

    def _after(self, seconds: float) -> float:
        return min(self._end, asyncio.get_running_loop().time() + seconds)


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body. If it is longer than `most` bytes, only its beginning: somewhat more than `most` bytes."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most:
            break
    return bytes(content)
