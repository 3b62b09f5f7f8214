"""Why webhooks are not called, for the operator: in the log, once for each webhook and process.

The owners of the webhooks get less, see `attempt_faults.py`.
"""

from __future__ import annotations

import aiohttp
import structlog

from lapel.foundation.outbound.guarded_connector import ForbiddenAddress

# Then all are forgotten, and may be told again.
_MOST = 10_000
_REMEDY = "Set LAPEL_SECRET_PREVIOUS to the secret with which the webhook was made, or rotate its secret."

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class OperatorLog:
    """Remembers what it has told."""

    def __init__(self) -> None:
        self._told: set[tuple[str, ...]] = set()

    def secret_unreadable(self, webhook_id: str) -> None:
        """The server cannot read the secret of a webhook."""
        if self._is_new(webhook_id, "secret"):
            _log.error("webhook.secret_unreadable", webhook=webhook_id, remedy=_REMEDY)

    def not_called(self, webhook_id: str, fault: BaseException) -> None:
        """The name of a webhook's host was not resolved, or its address is refused. Other faults: nothing."""
        match fault:
            case ForbiddenAddress():
                if self._is_new(webhook_id, fault.host, "refused"):
                    _log.warning(
                        "webhook.host_refused",
                        webhook=webhook_id,
                        host=fault.host,
                        address=fault.address,
                        error=str(fault),
                    )
            case aiohttp.ClientConnectorDNSError():
                if self._is_new(webhook_id, fault.host, "unresolved"):
                    _log.warning(
                        "webhook.host_unresolved",
                        webhook=webhook_id,
                        host=fault.host,
                        error=str(fault.os_error),
                    )
            case _:
                pass

    def _is_new(self, *told: str) -> bool:
        if told in self._told:
            return False
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told.add(told)
        return True
