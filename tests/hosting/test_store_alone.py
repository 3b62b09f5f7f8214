"""A machine that runs the store alone tells probes and Prometheus how it is, and refuses nobody for it."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from tests.conformance.servers import ACCESS_KEY, SECRET, Endpoint
from tests.support.serving import Served, eventually, serving

KEYS = {"LAPEL_S3_ACCESS_KEY_ID": ACCESS_KEY, "LAPEL_S3_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    folder = tmp_path_factory.mktemp("store")
    with serving(folder / "data", "--role", "store", env=KEYS, log=folder / "log") as server:
        yield server


def ready(store: Served) -> tuple[int, str, str, str]:
    """Of /health/ready: the status code, and the states of all, of the objects and of the disk."""
    answer = httpx.get(f"{store.url}/health/ready")
    told = answer.json()
    return answer.status_code, told["status"], told["store"], told["disk"]


def test_it_is_ready_and_names_its_build(store: Served) -> None:
    health = httpx.get(f"{store.url}/health", params={"probe": "1"})
    assert (health.status_code, health.json()) == (200, {"status": "healthy", "store": "connected"})
    assert ready(store) == (200, "ready", "connected", "ok")
    told = httpx.get(f"{store.url}/health/ready").json()
    assert (len(told["version"].split(".")), len(told["commit"] or "x" * 12)) == (3, 12)
    assert httpx.head(f"{store.url}/health").status_code == 200


def test_it_is_unready_while_its_folder_is_gone(store: Served) -> None:
    bucket = store.data_dir / "objects" / "lapel"
    bucket.rename(bucket.with_name("away"))
    try:
        assert ready(store)[:3] == (503, "unready", "disconnected")
        health = httpx.get(f"{store.url}/health")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert health.headers["retry-after"] == "1"
    finally:
        bucket.with_name("away").rename(bucket)
    assert ready(store) == (200, "ready", "connected", "ok")


def test_it_is_degraded_while_its_disk_takes_no_object(tmp_path: Path) -> None:
    env = KEYS | {"LAPEL_MIN_FREE_BYTES": "100000GiB"}
    with serving(tmp_path / "data", "--role", "store", env=env) as server:
        assert ready(server) == (200, "degraded", "connected", "uploads_refused")
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_its_metrics_count_its_answers(store: Served) -> None:
    client = Endpoint("ours", store.url, store.data_dir, store.process.pid).client()
    client.put_object(Bucket="lapel", Key="a", Body=b"b")
    counted = 'lapel_http_request_seconds_count{operation="store_put",status="200"} 1.0'
    eventually(lambda: counted in httpx.get(f"{store.url}/metrics").text)
    assert 'lapel_build_info{commit="' in httpx.get(f"{store.url}/metrics").text
    proxied = httpx.get(f"{store.url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert proxied.status_code == 403
    id_of_it = proxied.headers["x-request-id"]
    eventually(lambda: id_of_it in (store.data_dir.parent / "log").read_text())


def test_what_is_signed_goes_to_the_store_whatever_its_name(store: Served) -> None:
    endpoint = Endpoint("ours", store.url, store.data_dir, store.process.pid)
    client = endpoint.client()
    for bucket in ("health", "metrics"):
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="ready", Body=b"an object")
        assert client.get_object(Bucket=bucket, Key="ready")["Body"].read() == b"an object"
        assert [each["Key"] for each in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["ready"]
    link = client.generate_presigned_url("get_object", Params={"Bucket": "health", "Key": "ready"})
    assert httpx.get(link).content == b"an object"
    assert "<Code>AccessDenied</Code>" in httpx.get(f"{store.url}/health/other").text
    assert httpx.put(f"{store.url}/health").status_code == 403
    assert httpx.get(f"{store.url}/%68ealth").status_code == 403


def test_health_has_json(store: Served) -> None:
    answer = httpx.get(f"{store.url}/health/ready")
    assert answer.headers["content-type"] == "application/json"
    assert set(json.loads(answer.content)) == {"status", "store", "disk", "version", "commit"}
