"""A revocation of what a key issued must name what else ends: the hooks that disable its webhooks."""

from __future__ import annotations

from lapel.app import open_services
from lapel.foundation.ports import Ports
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.revocations.service import KeyRevocations
from lapel.slices.projects.service import Keys


async def revoke(ports: Ports) -> None:
    hooks = open_services(ports)[Keys].on_revoke_issued
    await OperatorKeys(ports).revoke("key_1", issued=hooks)
    await OperatorKeys(ports).revoke("key_1", issued=True)  # expect: reportArgumentType
    _ = KeyRevocations(ports, hooks)
    _ = KeyRevocations(ports)  # expect: reportCallIssue
