"""`lapel doctor` names the webhooks whose secret the server cannot read."""

from __future__ import annotations

from pathlib import Path

from lapel.cli.doctor.webhook_checks import webhook_secrets
from lapel.foundation.identity.seal import sealer
from lapel.foundation.ports import open_ports
from lapel.slices.webhooks import queries, signing_secrets
from tests.support.running import settings_for
from tests.support.tenants import make_tenant


async def test_secrets_that_another_secret_sealed_are_named(fresh_database: str, tmp_path: Path) -> None:
    async with (
        open_ports(settings_for(tmp_path, fresh_database, 1)) as ports,
        ports.database.acquire() as connection,
    ):

        async def found() -> list[tuple[str, str, str | None]]:
            secrets = webhook_secrets(connection, ports.sealer)
            return [(each.state, each.detail, each.remedy) async for each in secrets]

        async def add(webhook_id: str, world_id: int, secret_of: str | None) -> None:
            by = ports.sealer if secret_of is None else sealer(secret_of, None)
            sealed = signing_secrets.sealed(by, world_id, webhook_id, "whsec_a")
            about = ("https://example.com", ["*"], (None, "{}"), sealed, ports.clock.now(), "key_1")
            await queries.insert(connection, world_id, webhook_id, *about)

        assert await found() == []
        tenant = await make_tenant(ports)
        await add("wh_1", tenant.test_world, None)
        assert await found() == [("ok", "secrets that can be read: 1", None)]
        for webhook_id in ("wh_2", "wh_3", "wh_4", "wh_5"):
            await add(webhook_id, tenant.live_world, "another-secret-of-good-length")
        ((state, detail, remedy),) = await found()
        assert (state, detail) == (
            "broken",
            "secrets sealed under another secret: wh_2, wh_3, wh_4 and 1 more",
        )
        assert "rotate-secret" in (remedy or "")
        for webhook_id in ("wh_2", "wh_3", "wh_4", "wh_5"):
            await queries.delete(connection, tenant.live_world, webhook_id, ports.clock.now())
        assert await found() == [("ok", "secrets that can be read: 1", None)]
