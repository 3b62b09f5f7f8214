"""The role `store`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lapel.embedded.s3.endpoint import create_store_app
from lapel.embedded.s3.protocol.mismatch import links_of
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.ids import TimeOrderedIds
from lapel.foundation.telemetry import observe_request
from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import confine
from lapel.hosting.roles.serving_app import serve_app
from lapel.slices.recordings.content_types import all_content_types

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App
    from lapel.hosting.roles.role_process import RoleProcess


async def run(process: RoleProcess) -> None:
    """Serve the store until `process.stop` is set. Raises SystemExit without keys."""
    settings = process.settings
    if settings.s3_access_key_id is None or settings.s3_secret_access_key is None:
        raise SystemExit("the store has no access key")
    application = create_store_app(
        settings.data_dir / "objects",
        {settings.s3_access_key_id: settings.s3_secret_access_key},
        clock=SystemClock(),
        region=settings.s3_region,
        buckets=(settings.s3_bucket,),
        min_free_bytes=settings.min_free_bytes,
        ceilings=settings.media_ceilings,
        elsewhere=links_of(settings.store_url, all_content_types()),
        # With the role `all` only this server's own processes ask this one, and log what they do.
        observe=observe_request if settings.role == "store" else None,
    )
    served: App = application
    if settings.role == "store":
        from lapel.slices.system.store_status import StoreStatus  # noqa: PLC0415  # imports much

        served = StoreStatus(application, settings, TimeOrderedIds(SystemClock()))
    _confine(process)
    await serve_app(served, process, public=settings.role == "store")


def _confine(process: RoleProcess) -> None:
    """Confines the store to its socket and its folders. A store that must open its socket is not confined."""
    if process.parent.listen_fd is None:
        return
    settings = process.settings
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    tls = [each for each in (settings.tls_cert, settings.tls_key) if each is not None]
    writes = [settings.data_dir / "objects", *([Path(metrics)] if metrics else [])]
    layers = confine([Path("/etc/ssl"), *tls], writes, own_account=False, serves=True)
    end_with(process.parent.pid)
    process.say_confined(layers)
