"""Makes the attempts of a claimed delivery: signs the event's body and posts it."""

from __future__ import annotations

import asyncio
import errno
import time
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import aiohttp
import structlog
from yarl import URL

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.identity.seal import SealBroken
from lapel.foundation.identity.webhook_signatures import delivery_headers
from lapel.foundation.outbound.lookups import LookupNotMade
from lapel.slices.webhooks import signing_secrets
from lapel.slices.webhooks.delivery import claim_queries, delivery_metrics
from lapel.slices.webhooks.delivery.delivery_outcome import DeliveryAttempt, DeliveryOutcome
from lapel.slices.webhooks.delivery.posting.attempt_faults import told
from lapel.slices.webhooks.delivery.posting.operator_log import OperatorLog
from lapel.slices.webhooks.delivery.posting.retry_schedule import asked_wait, wait_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.outbound.outbound_client import OutboundClient
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow

# Seconds until the status line of the answer.
SECONDS = 30.0
# Then the beginning of its body is read for so many seconds, and so many bytes.
_BODY_SECONDS = 2.0
_BODY_BYTES = 4096
_UNAUTHORIZED, _GONE = 401, 410
# With these, `Retry-After` is about the receiver, and not only about this delivery (RFC 6585, RFC 9110).
_TOO_MUCH = {429, 503}
# Faults of this machine, which say nothing about the webhook.
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
# Large bodies (up to 1 MiB each) in memory at once, and of these of one world and of one webhook.
_LARGE, _LARGE_OF_WORLD, _LARGE_OF_WEBHOOK = 32, 8, 4
_MOST_SECRETS = 10_000

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OwnFault(Exception):
    """This machine could not make the attempt; it does not count."""


class _Answer:
    """What became of one request. `asks`: the seconds that the answer asks to wait."""

    __slots__ = ("asks", "attempt")

    def __init__(self, attempt: DeliveryAttempt, asks: float | None) -> None:
        self.attempt = attempt
        self.asks = asks


class Attempts:
    """Makes attempts with one HTTP client. `chance`: a random number from 0 to 1."""

    def __init__(self, ports: Ports, client: OutboundClient, chance: Callable[[], float]) -> None:
        self._ports = ports
        self._client = client
        self._chance = chance
        self._operator = OperatorLog()
        self._secrets: dict[bytes, str] = {}
        self._large = asyncio.Semaphore(_LARGE)
        self._large_of_world: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        self._large_of_webhook: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def make(self, claim: ClaimedRow, *, probe: bool) -> DeliveryOutcome | None:
        """Attempt a delivery; None when its event or webhook is gone, or this machine is at fault.

        Raises Unavailable when a large body cannot be read because the database is away.
        """
        try:
            if claim.body is not None:
                return await self._make(claim, claim.body, probe=probe)
            return await self._make_large(claim, probe=probe)
        except OwnFault as fault:
            _log.warning("webhook.not_attempted", delivery=claim.id, error=str(fault))
            return None

    async def _make_large(self, claim: ClaimedRow, *, probe: bool) -> DeliveryOutcome | None:
        of_world = self._large_of_world.setdefault(claim.world_id, asyncio.Semaphore(_LARGE_OF_WORLD))
        of_webhook = self._large_of_webhook.setdefault(claim.webhook_id, asyncio.Semaphore(_LARGE_OF_WEBHOOK))
        async with of_webhook, of_world, self._large:
            async with self._ports.database.acquire() as connection:
                body = await claim_queries.read_body(connection, claim.world_id, claim.id)
            return None if body is None else await self._make(claim, body, probe=probe)

    async def _make(self, claim: ClaimedRow, body: bytes, *, probe: bool) -> DeliveryOutcome:
        if claim.attempts == 0:
            delivery_metrics.LAG.observe(claim.age_seconds)
        try:
            secrets = self._signing(claim)
        except SealBroken:
            self._operator.secret_unreadable(claim.webhook_id)
            attempt = DeliveryAttempt(
                self._ports.clock.now(), 0, None, "the server cannot read the secret", None
            )
            return self._outcome(claim, [_Answer(attempt, None)], probe=probe)
        answers = [await self._post(claim, body, secrets)]
        if answers[0].attempt.status == _UNAUTHORIZED and len(secrets) > 1:
            # The receiver may not have the new secret yet. X-Bota-Signature has room for one signature.
            answers.append(await self._post(claim, body, secrets[::-1]))
        return self._outcome(claim, answers, probe=probe)

    def _outcome(self, claim: ClaimedRow, answers: list[_Answer], *, probe: bool) -> DeliveryOutcome:
        last = answers[-1]
        succeeded = last.attempt.succeeded
        wait = None if succeeded else wait_after(claim.tries + 1, last.asks, self._chance)
        return DeliveryOutcome(
            world_id=claim.world_id,
            delivery_id=claim.id,
            webhook_id=claim.webhook_id,
            url=claim.url,
            attempts=[answer.attempt for answer in answers],
            state="succeeded" if succeeded else "failed" if wait is None else "pending",
            wait_seconds=wait,
            gone=last.attempt.status == _GONE,
            pause_seconds=last.asks if last.attempt.status in _TOO_MUCH else None,
            probe=probe,
        )

    async def _post(self, claim: ClaimedRow, body: bytes, secrets: list[str]) -> _Answer:
        """One request. Raises OwnFault."""
        started = self._ports.clock.now()
        seconds = int(started.timestamp())
        headers = delivery_headers(claim.event_id, claim.position, body, timestamp=seconds, secrets=secrets)
        status, error, asks, answer = None, None, None, bytearray()
        began = ended = time.perf_counter()
        try:
            async with asyncio.timeout(SECONDS) as limit:
                async with await self._client.post_repeatably(
                    _parsed(claim.url), data=body, headers=headers
                ) as response:
                    ended = time.perf_counter()
                    status = response.status
                    if not 200 <= status < 300:
                        asks = asked_wait(response.headers, started)
                    crash_point("delivery:answered")
                    if not response.content.at_eof():
                        limit.reschedule(asyncio.get_running_loop().time() + _BODY_SECONDS)
                        await _read(response, answer)
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            # Once there is a status line, the rest of the answer changes nothing.
            if status is None:
                ended = time.perf_counter()
                if (own := _own_fault(fault)) is not None:
                    raise OwnFault(str(own)) from fault
                error = told(fault)
                self._operator.not_called(claim.webhook_id, fault)
        attempt = DeliveryAttempt(
            started, round((ended - began) * 1000), status, error, bytes(answer) or None
        )
        delivery_metrics.observe(attempt, ended - began)
        return _Answer(attempt, asks)

    def _signing(self, claim: ClaimedRow) -> list[str]:
        """The present secret, and the previous one while it is valid. Raises SealBroken.

        A previous secret that cannot be read is left out: a rotation is what helps a webhook whose secret the
        server has lost.
        """
        secrets = [self._opened(claim, claim.sealed_secret)]
        if claim.sealed_previous_secret is not None:
            with suppress(SealBroken):
                secrets.append(self._opened(claim, claim.sealed_previous_secret))
        return secrets

    def _opened(self, claim: ClaimedRow, sealed: bytes) -> str:
        """A sealed secret. Raises SealBroken."""
        secret = self._secrets.get(sealed)
        if secret is None:
            if len(self._secrets) >= _MOST_SECRETS:
                self._secrets.clear()
            secret = signing_secrets.opened(self._ports.sealer, claim.world_id, claim.webhook_id, sealed)
            self._secrets[sealed] = secret
        return secret


def _own_fault(fault: BaseException) -> BaseException | None:
    """The error that says why this machine could make no attempt; None if the receiver is at fault."""
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return fault.os_error if isinstance(fault.os_error, LookupNotMade) else None
    return fault if getattr(fault, "errno", None) in _OWN_FAULTS else None


@lru_cache(maxsize=4096)
def _parsed(url: str) -> URL:
    return URL(url)


async def _read(response: aiohttp.ClientResponse, answer: bytearray) -> None:
    """Read the beginning of the body. A connection whose answer is longer is closed."""
    content = response.content
    while not content.at_eof():
        if len(answer) >= _BODY_BYTES:
            response.close()
            return
        answer += (await content.readany())[: _BODY_BYTES - len(answer)]
