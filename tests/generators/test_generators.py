"""Generators of clients make every operation of the document, without a warning, and what they make works."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import venv
from functools import partial
from pathlib import Path

import pytest

from tests.support.declared import declared_operations, described_api
from tests.support.patience import LONG
from tests.support.running import Running
from tests.support.tenants import Tenant

# They install the generators, and check thousands of made files.
pytestmark = pytest.mark.deep
ROOT = Path(__file__).parents[2]
NPM = Path(__file__).parent / "npm"
OPERATIONS = len(declared_operations())
TSC = (
    "tsc", "--noEmit", "--strict", "--noUnusedLocals", "--target", "es2022", "--module", "esnext",
    "--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable",
)  # fmt: skip
# Made of the document, this calls the server: what comes back are objects of the client's own classes.
CALLS = """
import importlib, pathlib, sys

for path in sorted(pathlib.Path("made").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))

from made import AuthenticatedClient
from made.api.api_keys import create_api_key
from made.api.devices import create_device, get_device_settings, list_devices, patch_device_settings
from made.api.end_users import create_end_user, get_end_user
from made.api.recordings import create_recording, create_upload_url, list_recordings
from made.models import (
    CreateApiKey, CreateDevice, CreateEndUser, CreateRecording, SettingsBody, StartUpload,
)

url, key = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=key) as client:
    person = create_end_user.sync(client=client, body=CreateEndUser(name="Jane"), idempotency_key="one")
    again = create_end_user.sync(client=client, body=CreateEndUser(name="Jane"), idempotency_key="one")
    assert person.id == again.id and person.name == "Jane"
    assert get_end_user.sync(person.id, client=client) == person
    device = create_device.sync(client=client, body=CreateDevice(serial_number="GENERATED0"))
    (listed,) = list_devices.sync(client=client, limit=1).data
    assert listed == device
    change = SettingsBody.from_dict({"settings": {"audio": {"codec": "opus"}}})
    changed = patch_device_settings.sync(device.id, client=client, body=change)
    assert changed.settings.audio.codec == "opus"
    assert get_device_settings.sync(device.id, client=client).to_dict() == changed.to_dict()
    made = create_recording.sync(client=client, body=CreateRecording(end_user_id=person.id))
    link = create_upload_url.sync(made.id, client=client, body=StartUpload(content_type="audio/opus"))
    assert link.upload_url.startswith("http")
    page = list_recordings.sync(client=client, end_user_id=person.id)
    assert [each.id for each in page.data] == [made.id] and page.has_more is False
    key = CreateApiKey.from_dict({"scopes": ["recordings:read"], "end_user_id": person.id})
    assert create_api_key.sync(client=client, body=key).end_user_id == person.id
    refused = get_end_user.sync_detailed("eu_nobody", client=client)
    assert (refused.status_code, refused.parsed.error.code) == (404, "not_found")
"""


def run(folder: Path, *command: str, **more: str) -> str:
    """The output of a program; fails when the program does."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LONG,
        check=False,
    )
    told = done.stdout.decode()
    assert done.returncode == 0, f"{' '.join(command)}: {told[-3000:]}"
    return told


async def ran(folder: Path, *command: str, **more: str) -> str:
    """`run` in a thread: the server runs in this one."""
    return await asyncio.to_thread(partial(run, folder, *command, **more))


def write_document(folder: Path) -> None:
    (folder / "openapi.json").write_text(json.dumps(described_api()), encoding="utf-8")


@pytest.mark.deep
async def test_openapi_python_client_makes_a_client_that_works(
    live: Running, tenant: Tenant, tmp_path: Path
) -> None:
    write_document(tmp_path)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "lapel.yaml").write_text(config, encoding="utf-8")
    await asyncio.to_thread(venv.create, tmp_path / "venv", with_pip=True, symlinks=True)
    binaries = tmp_path / "venv" / "bin"
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    locked = str(ROOT / "requirements" / "generators.txt")
    await ran(
        tmp_path, f"{binaries}/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", locked
    )
    generate = ("generate", "--path", "openapi.json", "--config", "lapel.yaml", "--meta", "none")
    told = run(tmp_path, f"{binaries}/openapi-python-client", *generate, "--output-path", "made", PATH=path)
    assert "warning" not in told.lower(), told[:3000]
    assert "unable" not in told.lower(), told[:3000]
    modules = [each for each in (tmp_path / "made" / "api").rglob("*.py") if each.name != "__init__.py"]
    assert len(modules) == OPERATIONS
    (tmp_path / "calls.py").write_text(CALLS, encoding="utf-8")
    warned = await ran(tmp_path, f"{binaries}/python", "-W", "error", "calls.py", live.url, tenant.test_key)
    assert warned == ""


@pytest.fixture(scope="module")
def node_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the locked packages of npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NPM / name, folder)
    run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    write_document(folder)
    return folder


def tool(folder: Path, name: str, *arguments: str) -> str:
    """Run one of the packages; what it says."""
    return run(folder, str(folder / "node_modules" / ".bin" / name), *arguments, NO_COLOR="1")


@pytest.mark.deep
def test_openapi_typescript_makes_types(node_tools: Path) -> None:
    told = tool(node_tools, "openapi-typescript", "openapi.json", "-o", "schema.ts")
    assert "warn" not in told.lower(), told
    made = (node_tools / "schema.ts").read_text(encoding="utf-8")
    (operations,) = re.findall(r"^export interface operations \{\n(.*?)^\}", made, re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^    \w+: \{$", operations, re.MULTILINE)) == OPERATIONS
    tool(node_tools, *TSC, "schema.ts")


@pytest.mark.deep
def test_hey_api_makes_a_client(node_tools: Path) -> None:
    told = tool(node_tools, "openapi-ts", "-i", "openapi.json", "-o", "made", "--no-log-file")
    assert "warn" not in told.lower(), told
    made = (node_tools / "made" / "sdk.gen.ts").read_text(encoding="utf-8")
    assert len(re.findall(r"^export const \w+ = ", made, re.MULTILINE)) == OPERATIONS
    (node_tools / "use.ts").write_text(
        'import { createEndUser, listRecordings } from "./made";\n'
        'export const made: Promise<string | undefined> = createEndUser({ body: { name: "Jane" } })\n'
        "  .then((answer) => answer.data?.id);\n"
        'export const page = listRecordings({ query: { end_user_id: "eu_1", limit: 5 } });\n',
        encoding="utf-8",
    )
    tool(node_tools, *TSC, "use.ts")
