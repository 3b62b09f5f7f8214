"""The examples of the device pages work as they are printed, pasted one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.running import Running
from tests.support.tenants import Tenant

ROOT = Path(__file__).parents[2]
PAGES = ("devices", "heartbeats", "commands", "configuration", "audit", "firmware")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
FROM_README = ("field()", "post()", "END_USER=")
# Refusals end the shell; a reader would see them printed.
STRICT = 'set -euo pipefail\ncurl() { command curl --fail-with-body -S "${@/#-fsS/-sS}"; echo; }'


def curl_knows_json() -> bool:
    """Whether this machine can run what is printed: `--json` came with curl 7.82."""
    if shutil.which("curl") is None:
        return False
    told = subprocess.run(["curl", "--help", "all"], capture_output=True, check=False)
    return b"--json" in told.stdout


def walk() -> str:
    """A script of all examples, begun with what the README defines for them."""
    readme = (ROOT / "README.md").read_text()
    begun = [line for line in readme.splitlines() if line.startswith(FROM_README)]
    assert len(begun) == len(FROM_README)
    blocks = [block for page in PAGES for block in BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text())]
    assert len(blocks) >= len(PAGES)
    return "\n".join([STRICT, *begun, *blocks])


async def paste(script: str, live: Running, tenant: Tenant, folder: Path) -> str:
    """What a shell prints that runs the lines; it ends at the first one that fails."""
    variables = {"PATH": os.environ["PATH"], "LAPEL_URL": live.url, "LAPEL_KEY": tenant.test_key}
    lines = f"set -euo pipefail\n{script}"
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", lines, cwd=folder, env=variables, stdout=PIPE, stderr=STDOUT
    )
    text = (await shell.communicate())[0].decode()
    assert shell.returncode == 0, text
    return text


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")


@needs_curl
async def test_the_key_of_the_page_has_its_scopes_its_end_and_its_end_user(
    live: Running, tenant: Tenant, tmp_path: Path
) -> None:
    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs" / "keys.md").read_text()
    begun = [line for line in readme.splitlines() if line.startswith(FROM_README)]
    (block,) = [each for each in BLOCK.findall(page) if "/v1/api-keys" in each]
    told = json.loads(await paste("\n".join([*begun, block]), live, tenant, tmp_path))
    assert (told["kind"], told["name"], told["mode"]) == ("restricted", "app", "test")
    assert told["scopes"] == ["recordings:read", "recordings:write"]
    assert told["end_user_id"].startswith("eu_")
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert 89 <= left.days <= 90


@needs_curl
async def test_the_clients_of_the_mcp_page_work_as_printed(
    live: Running, tenant: Tenant, tmp_path: Path
) -> None:
    """All but the installation: these packages are in the tests' environment."""
    page = (ROOT / "docs" / "mcp.md").read_text()
    program = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (lines,) = [block for block in BLOCK.findall(page) if block.startswith("curl")]
    assert program
    (tmp_path / "list_recordings.py").write_text(program[1])
    script = f"{sys.executable} list_recordings.py\n{lines}"
    by_package, by_curl = (await paste(script, live, tenant, tmp_path)).splitlines()
    assert "'data': []" in by_package
    assert '"data":[]' in by_curl


@pytest.mark.skipif(not curl_knows_json(), reason="no curl on this machine that knows --json")
async def test_the_device_pages_can_be_pasted_in_their_order(
    live: Running, tenant: Tenant, tmp_path: Path
) -> None:
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LAPEL_URL": live.url,
        "LAPEL_KEY": tenant.test_key,
    }
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", walk(), cwd=tmp_path, env=variables, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    printed, _ = await shell.communicate()
    text = printed.decode()
    assert shell.returncode == 0, text
    for told in ('"status":"executed"', "wifi_config grant_", '"source":"device"', '"status":"applied"'):
        assert told in text
    assert '"config.cleared"' in text
    assert "the device has it" in text
