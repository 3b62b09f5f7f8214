"""A child that parses strangers' bytes reaches nothing, whoever runs Lapel, and still does its work."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import run
from tests.transcription.needs import needs_weights

ROOT = Path(__file__).parents[3]
ORDINARY = 61_001
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there is no sandbox on other systems")
pytestmark = LINUX


def as_user(uid: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A Python program run by an account; not ours: by the system's Python, because ours may be in a home."""
    python = sys.executable if uid == os.geteuid() else f"/usr/bin/python3.{sys.version_info.minor}"
    places = [ROOT, ROOT / "src", sysconfig.get_path("purelib")]
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
    return subprocess.run(
        [*(become if uid != os.geteuid() else []), python, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/", capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.fixture
def folder() -> Generator[Path]:
    """One that everybody may enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="lapel-test-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def escapes(uid: int, folder: Path, *more: str) -> dict[str, Any]:
    if uid != os.geteuid() and as_user(uid, "-c", "import lapel.sample, numpy, av").returncode != 0:
        pytest.skip("other accounts cannot enter this installation")
    os.chown(folder, uid, uid)
    done = as_user(uid, "-m", "tests.foundation.workers.escape", folder, *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def holding(uid: int) -> set[str]:
    """First words of the layers that this kernel grants, which is not ours to choose."""
    layers = json.loads(as_user(uid, "-m", "lapel.foundation.workers.sandbox", "imported").stdout)
    return {each["name"] for each in layers if each["holds"]}


def check(found: dict[str, str], layers: set[str]) -> None:
    assert (found["handed to read"], found["handed to write"]) == ("a secret", "done")
    assert found["written"] == "handed over"
    assert found["NoNewPrivs"] == "1"
    assert set(found["CapEff"]) == {"0"}
    if any("Landlock" in each for each in layers):
        assert (found["read"], found["write"]) == ("EACCES", "EACCES")
    if any("seccomp" in each for each in layers):
        assert (found["tcp"], found["udp"], found["Seccomp"]) == ("EPERM", "EPERM", "2")
    elif any("namespace" in each for each in layers):
        assert found["tcp"] in {"ENETUNREACH", "ECONNREFUSED", "EACCES"}
    assert found["become root"] in {"EPERM", "EINVAL"}  # EINVAL: a user namespace has no such id


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_started_by_root_a_child_is_nobody_and_reaches_nothing(folder: Path) -> None:
    layers, found = holding(0), escapes(0, folder)
    confined, trusted = found["confined"], found["trusted"]
    check(confined, layers)
    if any("own account" in each for each in layers):
        assert confined["Uid"] == confined["Gid"] == "65531"
        assert (confined["read"], confined["signal"]) in {("EACCES", "EPERM"), ("EACCES", "EACCES")}
    assert set(confined["CapBnd"]) == {"0"}
    # The same tries succeed where nothing was given up.
    assert {trusted[each] for each in ("write", "tcp", "udp", "become root", "signal")} == {"done"}
    assert trusted["read"] == "a secret"


@needs_weights
def test_started_by_an_ordinary_user_a_child_reaches_nothing_and_hears(folder: Path) -> None:
    uid = os.geteuid() or ORDINARY
    layers, found = holding(uid), escapes(uid, folder, "hear")
    check(found["confined"], layers)
    assert found["confined"]["Uid"] == str(uid)
    assert {found["trusted"][each] for each in ("write", "tcp", "udp", "signal")} == {"done"}
    assert len(found["heard"].split()) > 5


# The calls without which a layer cannot be had, by machine, as other kernels and containers lack them.
LACKING = {
    "x86_64": {"Landlock": 444, "namespace": 272, "seccomp": 317, "own account": 117, "no capabilities": 126},
    "aarch64": {"Landlock": 444, "namespace": 97, "seccomp": 277, "own account": 147, "no capabilities": 91},
}


@pytest.mark.skipif(platform.machine() not in LACKING, reason="the numbers of its calls are not known")
@pytest.mark.parametrize("layer", ["Landlock", "namespace", "seccomp", "own account", "no capabilities"])
def test_a_layer_that_the_kernel_refuses_costs_no_other(layer: str) -> None:
    whole = holding(os.geteuid())
    if not any(layer in each for each in whole):
        pytest.skip("this kernel refuses it anyway")
    program = (
        "import runpy, sys\n"
        "from lapel.foundation.workers import kernel_calls\n"
        "kernel_calls.forbid_new_privileges()\n"
        f"kernel_calls.refuse_calls([{LACKING[platform.machine()][layer]}])\n"
        "sys.argv[1:] = ['imported']\n"
        "runpy.run_module('lapel.foundation.workers.sandbox', run_name='__main__')\n"
    )
    done = as_user(os.geteuid(), "-W", "ignore", "-c", program)
    assert done.returncode == 0, done.stderr
    layers = {each["name"]: each for each in json.loads(done.stdout)}
    lost = {name for name in whole if not layers[name]["holds"]}
    assert {name for name in lost if layer not in name} == set()
    assert lost
    assert all(layers[name]["why"] for name in lost)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_root_that_is_one_only_in_its_container_goes_on(folder: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")
    done = subprocess.run(
        [*alone, sys.executable, "-m", "lapel.foundation.workers.sandbox", "imported"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (account,) = [each for each in json.loads(done.stdout) if "own account" in each["name"]]
    assert account["holds"] is False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_root_that_may_not_change_its_account_goes_on_and_says_so() -> None:
    script = (
        "import json; from lapel.foundation.workers import kernel_calls, sandbox\n"
        "kernel_calls.drop_capabilities()\n"
        "print(json.dumps({e.name: e.why for e in sandbox.confine([], needs_code=False)}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    why = json.loads(done.stdout)["own account (65531)"]
    assert why == "root may not change its account here: give it CAP_SETUID and CAP_SETGID"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_folder_that_keeps_the_models_from_their_account_is_named(folder: Path) -> None:
    barred = folder / "barred"
    (barred / "inner").mkdir(parents=True)
    script = (
        "import sys, json; from pathlib import Path; from lapel.foundation.workers.sandbox import confine; "
    )
    script += "print(json.dumps({e.name: e.why for e in confine([Path(sys.argv[1])], needs_code=False)}))"
    folder.chmod(0o755)
    barred.chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", script, str(barred / "inner")], capture_output=True, text=True, check=True
    )
    whys = json.loads(done.stdout)["own account (65531)"]
    assert f"it may not enter or read {barred}: " in whys
    assert f"chmod o+rX {barred}" in whys


READER = """
import json, sys
from pathlib import Path
from lapel.foundation.workers.sandbox import confine

reads = [Path(each) for each in sys.argv[1:]]
layers = confine(reads, needs_code=False)
print(json.dumps((reads[0] / "model").read_text()))
print(json.dumps({layer.name: layer.holds for layer in layers}))
"""


def test_a_model_may_be_a_link_and_a_cache_may_be_missing_or_out_of_reach(folder: Path) -> None:
    for name in ("blobs", "snapshot", "closed"):
        (folder / name).mkdir()
    (folder / "blobs" / "1").write_text("weights")
    (folder / "snapshot" / "model").symlink_to("../blobs/1")
    (folder / "snapshot" / "lost").symlink_to("../blobs/2")
    folder.chmod(0o755)
    missing, uid = folder / "no cache", os.geteuid() or ORDINARY
    (folder / "closed").chmod(0)
    done = as_user(uid, "-c", READER, folder / "snapshot", missing, folder / "closed" / "cache")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0]) == "weights"
    if os.geteuid() == 0 and any("own account" in each for each in holding(0)):
        done = as_user(0, "-c", READER, folder / "snapshot", missing)
        assert json.loads(done.stdout.splitlines()[0]) == "weights"
        assert json.loads(done.stdout.splitlines()[1])["own account (65531)"]
        (folder / "blobs" / "1").chmod(0o600)  # which another account could not read
        done = as_user(0, "-c", READER, folder / "snapshot")
        assert json.loads(done.stdout.splitlines()[0]) == "weights"


def test_doctor_tells_which_layers_hold(tmp_path: Path) -> None:
    findings = json.loads(run("doctor", "--data-dir", tmp_path / "none", "--json").stdout)["findings"]
    details = {each["part"]: each["detail"] for each in findings}
    for part, how in (("decoder", ["imported"]), ("models", [])):
        layers = json.loads(as_user(os.geteuid(), "-m", "lapel.foundation.workers.sandbox", *how).stdout)
        for layer in layers:
            assert layer["name"] in details[part]
            assert layer["holds"] == (layer["name"] in details[part].partition(" missing: ")[0])


# As the store's process is: it answers on a socket that it has, and keeps objects in one folder.
SERVER = """
import os, socket, sys
from pathlib import Path
from lapel.foundation.workers.sandbox import confine

folder, listener = Path(sys.argv[1]), socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
confine(writes=[folder / "objects"], own_account=False, serves=True)


def tried(work):
    try:
        return str(work() or "done")
    except OSError as error:
        return error.strerror


objects = folder / "objects"
print("accept", tried(lambda: listener.accept()[0].close()), sep="=")
print("make", tried(lambda: (objects / "a").mkdir() or (objects / "a" / "x").touch()), sep="=")
print("move", tried(lambda: os.rename(objects / "a" / "x", objects / "y")), sep="=")
print("old", tried(lambda: (objects / "old").read_text()), sep="=")
print("outside", tried(lambda: (folder / "secret").read_text()), sep="=")
print("beside", tried(lambda: (folder / "new").write_bytes(b"") and None), sep="=")
print("socket", tried(lambda: socket.socket().close()), sep="=")
print("caps", int(dict(line.split(":") for line in open("/proc/self/status"))["CapEff"], 16), sep="=")
"""


@pytest.mark.parametrize("owner", sorted({os.geteuid(), ORDINARY} if os.geteuid() == 0 else {os.geteuid()}))
def test_what_serves_a_folder_reaches_that_alone_whoever_owns_it(folder: Path, owner: int) -> None:
    layers = holding(os.geteuid())
    (folder / "objects").mkdir(mode=0o700)
    for name in ("objects/old", "secret"):
        (folder / name).write_text(name)
        (folder / name).chmod(0o600)
    for path in (*folder.rglob("*"), folder):
        os.chown(path, owner, owner)
    done = as_user(os.geteuid(), "-c", SERVER, folder)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (found["accept"], found["make"], found["move"], found["old"]) == (
        "done",
        "done",
        "done",
        "objects/old",
    )
    # Of root's rights: to open what another account left in the folder.
    assert found["caps"] == ("2" if os.geteuid() == 0 else "0")
    if any("Landlock" in each for each in layers):
        assert (found["outside"], found["beside"]) == ("Permission denied", "Permission denied")
    if any("seccomp" in each for each in layers):
        assert found["socket"] == "Operation not permitted"


LATE = """
import os, socket, sys, threading
from pathlib import Path
from lapel.foundation.workers import kernel_calls
from lapel.foundation.workers.sandbox import confine

os.chdir(sys.argv[1])
layers = confine([], [Path(sys.argv[1])], still={"socket", "bind", "listen"})
closed, tried = threading.Event(), threading.Event()

def later():
    closed.wait()
    try:
        socket.socket(socket.AF_UNIX).close()
        print("late=done")
    except OSError as error:
        print("late", error.strerror, sep="=")

thread = threading.Thread(target=later)
thread.start()
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind("a.sock")
    listener.listen()
    Path("a.sock").unlink()
    print("early=done")
kernel_calls.refuse_calls(kernel_calls.denied())
closed.set()
thread.join()
"""


def test_a_call_that_is_allowed_once_more_is_refused_later_in_all_threads(folder: Path) -> None:
    if not any("seccomp" in each for each in holding(os.geteuid())):
        pytest.skip("this kernel grants no seccomp")
    (folder / "inner").mkdir()
    (folder / "inner").chmod(0o777)
    folder.chmod(0o700)  # the account that the process changes to cannot enter this one
    done = as_user(os.geteuid(), "-c", LATE, folder / "inner")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["early=done", "late=Operation not permitted"]
