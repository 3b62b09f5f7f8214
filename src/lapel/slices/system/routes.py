"""Health, readiness, and the API's own description, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.http.authorization import PUBLIC
from lapel.foundation.http.routes import Routes
from lapel.slices.system.description import Description
from lapel.slices.system.service import Probe
from lapel.slices.system.wire import Health, Readiness

if TYPE_CHECKING:
    from lapel.foundation.http.operations import Operation
    from lapel.foundation.slices import Services


def operations(services: Services) -> tuple[Operation, ...]:
    """The public routes about the server itself; two of them describe the operations of every slice."""
    probe, description = Probe(services.ports), Description(services)
    system = Routes("System", read=PUBLIC, write=PUBLIC)
    return (
        system.get("/health", "get_health", Health).plain(
            "Check the server and its database", lambda _: probe.health(), also=(503,)
        ),
        system.get("/health/ready", "get_readiness", Readiness).plain(
            "Check every part: database, store, queue, disk, migrations",
            lambda _: probe.readiness(),
            "503 only if the server can serve no request. If the store, the worker, new connections to the "
            "database or room on the disk are missing, the answer is 200 `degraded`, because taking every "
            "server out of rotation would not bring them back.",
            also=(503,),
        ),
        system.get("/v1/openapi.json", "get_openapi").content(
            "This document", lambda _: description.document(), answer="json"
        ),
        system.get("/docs", "get_docs").content(
            "Read this document as a web page, which loads nothing from the network",
            lambda _: description.page(),
            answer="html",
        ),
    )
