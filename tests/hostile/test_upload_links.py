"""What the holder of an upload link sends along to spoil the recording for those who download it."""

from __future__ import annotations

import httpx
import pytest

from tests.support.tenants import Tenant

CONTENT = b"RIFF" + bytes(range(256))


async def start(client: httpx.AsyncClient, tenant: Tenant) -> tuple[str, str, dict[str, str]]:
    """A recording, its upload link, and the headers to send."""
    user = await client.post("/v1/end-users", json={}, headers=tenant.headers)
    asked = {"end_user_id": user.json()["id"]}
    recording = (await client.post("/v1/recordings", json=asked, headers=tenant.headers)).json()["id"]
    upload = await client.post(
        f"/v1/recordings/{recording}/upload-url", json={"content_type": "audio/wav"}, headers=tenant.headers
    )
    assert upload.status_code == 200
    return recording, upload.json()["upload_url"], upload.json()["headers"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "aws-chunked, gzip"])
async def test_an_encoding_that_the_link_does_not_cover_is_refused(
    client: httpx.AsyncClient, tenant: Tenant, encoding: str
) -> None:
    recording, url, headers = await start(client, tenant)
    refused = await client.put(url, content=CONTENT, headers={**headers, "Content-Encoding": encoding})
    assert refused.status_code == 403
    assert "<Code>AccessDenied</Code>" in refused.text
    assert "Content-Encoding" in refused.text
    complete = await client.post(f"/v1/recordings/{recording}/upload-complete", headers=tenant.headers)
    assert complete.json()["error"]["code"] == "media_not_uploaded"


async def test_headers_that_the_link_does_not_cover_are_not_kept(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    recording, url, headers = await start(client, tenant)
    more = {
        "Cache-Control": "public, max-age=31536000",
        "Expires": "Thu, 01 Jan 2099 00:00:00 GMT",
        "Content-Language": "tlh",
        "Content-Disposition": 'attachment; filename="evil.exe"',
    }
    put = await client.put(url, content=CONTENT, headers={**headers, **more})
    assert put.status_code == 200
    complete = await client.post(f"/v1/recordings/{recording}/upload-complete", headers=tenant.headers)
    assert complete.status_code == 200
    link = await client.get(f"/v1/recordings/{recording}/download-url", headers=tenant.headers)
    got = await client.get(link.json()["download_url"])
    assert got.status_code == 200
    assert got.content == CONTENT
    assert got.headers["content-type"] == "audio/wav"
    assert "evil" not in got.headers["content-disposition"]
    assert not {"cache-control", "expires", "content-language", "content-encoding"} & set(got.headers)
