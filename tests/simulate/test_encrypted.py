"""Devices that encrypt, against a real server: nothing is lost, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from itertools import cycle

import httpx
import pytest
from rich.console import Console

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.simulate.backend import SCOPES
from lapel.simulate.client.meter import Meter
from lapel.simulate.plan import Rates
from lapel.simulate.report import FleetReport, shown_of
from lapel.simulate.sealing.sealing_device import Provisioning
from lapel.simulate.sealing.signed_documents import public_keys
from lapel.slices.encrypted_uploads.signing.signing_keys import SigningKeys
from tests.simulate.fleets import ended
from tests.support.running import Running, running_apart, working
from tests.support.tenants import Tenant, bearer, make_key

pytestmark = pytest.mark.draws

# How many simulations of other seeds follow the first one (`make test-deep`: 12).
DRAWS = int(os.environ.get("LAPEL_ENCRYPTED_DRAWS", "0"))
RATES = Rates(recordings=120, commands=0, refreshes=0, rebindings=20, spells=4)


@pytest.fixture(scope="session")
async def live(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """A server of its own, because a worker runs and erases what the fleets remove."""
    async with running_apart(postgres, tmp_path_factory, "encrypted") as started:
        yield started


@pytest.fixture
async def provisioning(live: Running, tenant: Tenant) -> AsyncGenerator[Provisioning]:
    """What the devices of the tenant's project know; a worker runs meanwhile."""
    async with live.ports.database.transaction() as connection:
        keys = live.services[SigningKeys]
        await keys.active(connection, tenant.project_id)
        listed = await keys.list(connection, tenant.project_id)
    async with working(live):
        yield Provisioning(public_keys({row.key_id: row.public_key for row in listed}), 2)


def check(report: FleetReport) -> None:
    """Nothing is lost: what was made is published and can be downloaded, or is on its device."""
    assert report.findings == []
    assert report.sealed is not None
    assert report.sealed.made == report.sealed.published + report.sealed.on_devices
    assert report.uploads.promised == report.uploads.kept == report.sealed.published == len(report.sessions)


@pytest.mark.deep
async def test_devices_that_encrypt_delete_only_what_is_published(
    live: Running, client: httpx.AsyncClient, tenant: Tenant, provisioning: Provisioning
) -> None:
    """Also while the policy becomes stricter, and less strict again."""

    def enough(meter: Meter) -> bool:
        return meter.counts["uploads promised"] >= 8 and meter.counts["phones restarted"] > 0

    async def change_policy() -> None:
        for policy in cycle(("v2_preferred", "v2_required", "legacy_allowed")):
            body = {"encrypted_upload_policy": policy}
            url = "/v1/config/upload_security"
            assert (await client.patch(url, json=body, headers=bearer(tenant.test_key))).status_code == 200
            await asyncio.sleep(0.3)

    key = await make_key(live.ports, tenant.test_world, "rk_test", scopes=SCOPES)
    changing = asyncio.create_task(change_policy())
    try:
        report = await ended(
            live, key, "sealed", enough, provisioning, devices=4, updates=0, rates=RATES, keep=True
        )
    finally:
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
    check(report)
    assert report.errors == {}
    session = report.sessions[0]
    path = f"/v1/recordings/{session.recording_id}/encrypted-upload-v2/sessions/{session.session_id}"
    shown = (await client.get(path, headers=bearer(tenant.test_key))).json()
    assert (shown["state"], shown["owner_revision"], shown["device_id"], shown["end_user_id"]) == (
        "published",
        session.owner_revision,
        session.device_id,
        session.end_user_id,
    )
    console = Console(width=200)
    with console.capture() as said:
        console.print(shown_of(report))
    assert f"{len(report.sessions)} published" in said.get()


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(1 + DRAWS))
async def test_answers_that_are_lost_lose_no_recording(
    live: Running, tenant: Tenant, provisioning: Provisioning, seed: int
) -> None:
    def enough(meter: Meter) -> bool:
        return meter.repeats["answer dropped"] > 25 and meter.counts["uploads promised"] > 3

    report = await ended(
        live,
        tenant.test_key,
        f"seallost{seed}",
        enough,
        provisioning,
        devices=6,
        updates=0,
        rates=RATES,
        drop=0.25,
        seed=seed,
    )
    check(report)
