"""`lapel demo` as a person runs it, and the lines that it and the README print, run by hand."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lapel.cli.demo import demo
from lapel.sample import speech
from tests.support.beginning import Beginning
from tests.support.patience import LONG
from tests.support.serving import ended
from tests.support.warm import Warm

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "lapel.cli.main", "demo"]
MAIN_JOB = re.compile(r"```bash\n(.*?)```", re.DOTALL)
BEGUN = ("export PATH=", "field()", "post()", "export LAPEL_KEY=")
UNDERSTANDING = re.compile(r"```sh\n(SUMMARY=.*?)```", re.DOTALL)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")


def is_reachable(base_url: str) -> bool:
    where = urlsplit(base_url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=LONG)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


class Kept:
    """A demo that was told to leave its server running, and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        command = [*DEMO, "--keep", "--json", "--data-dir", str(self.data_dir)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.base_url: str = self.told["base_url"]

    def shell(self, script: str, folder: Path) -> str:
        """Runs the lines as a person would who pastes them, with `lapel` on the path; their output."""
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=os.environ | {"PATH": paths, "LAPEL_DATA_DIR": str(self.data_dir)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = ended(self.process)
        assert self.process.stdout
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def kept(module_folder: Path) -> Iterator[Kept]:
    kept = Kept(module_folder)
    yield kept
    assert kept.end() == 128 + signal.SIGTERM
    assert not is_reachable(kept.base_url)


def steps(size: str) -> list[str]:
    """What the demo does with a sample of `size` bytes."""
    return [
        "start the server",
        "make a secret key",
        "make an end user",
        "register a device",
        "bind it to the end user",
        "register a webhook",
        "create a recording",
        "ask for an upload URL",
        f"PUT the sample, {size} bytes of speech",
        "complete the upload",
        "receive the event at the webhook, and verify it",
        "ask for a download URL",
        "GET it",
        "GET its first 1,024 bytes",
        "compare SHA-256",
        "ask for a transcript",
        "read what was said in 25 s of speech",
        "ask for a summary",
        "read the summary",
        "search what was said",
        "ask a question about the recording",
    ]


def take_the_beginning() -> None:
    """In the demo's process: five seconds of speech are recognised in a third of the time."""
    demo.speech = Beginning


@pytest.mark.deep
def test_the_demo_brings_the_sample_back_and_leaves_nothing(tmp_path: Path) -> None:
    with Warm("demo", env=os.environ | {"TMPDIR": str(tmp_path)}, before=take_the_beginning) as process:
        output, errors = process.communicate(timeout=110)
    assert process.returncode == 0, output + errors
    size = f"{Beginning().size:,}"
    assert f"{size} bytes came back as they went in" in output
    assert re.findall(r"^✓ (.+?)  +[\d,.]+ ms$", output, re.MULTILINE) == steps(size)
    assert re.search(r"^whisper-base, language en; 1 speaker; word error [0-9]\.[0-9]%", output, re.MULTILINE)
    assert re.search(r"^Summary  And Mr\. John Dashwood", output, re.MULTILINE)
    assert re.search(r"^Question Was he an .+\?\nAnswer   \S+", output, re.MULTILINE)
    assert "summary by extractive, answer by " in output
    came = r"^recording.uploaded evt_\w+ came to the webhook, .+:\n  webhook-signature: v1,\S{44}$"
    assert re.search(came, output, re.MULTILINE)
    base_url = re.search(r"export LAPEL_URL=(\S+)", output)
    assert base_url
    assert not is_reachable(base_url[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.deep
def test_when_nobody_reads_it_the_demo_ends_quietly_and_leaves_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "wb") as pipe,
        Warm("demo", env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=pipe) as process,
    ):
        _, errors = process.communicate(timeout=110)
    assert (process.returncode, errors) == (141, "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Warm("demo", "--data-dir", str(tmp_path / "file"), env=os.environ) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "lapel demo: the server ended at once" in errors
    assert "Traceback" not in output + errors


@pytest.mark.deep
def test_without_weights_the_demo_says_what_is_missing_and_fails(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    away = {"HOME": str(home), "TMPDIR": str(temporary), "LAPEL_WHISPER_MODEL": str(tmp_path / "none")}
    with Warm("demo", env=os.environ | away) as process:
        output, errors = process.communicate(timeout=110)
    assert process.returncode == 1
    assert "There is no transcript: " in output
    assert "lapel demo: the recording was uploaded, but not transcribed" in errors
    assert "`lapel doctor`" in errors
    assert list(temporary.iterdir()) == []


def test_json_tells_every_step_and_the_outcome(kept: Kept) -> None:
    told = kept.told
    assert told["data_dir"] == str(kept.data_dir)
    assert [step["name"] for step in told["steps"]] == steps("76,728")
    assert all(step["ms"] > 0 and step["commands"] for step in told["steps"])
    sample = speech()
    outcome = told["outcome"]
    assert (outcome["sha256"], outcome["bytes"]) == (sample.sha256, sample.size)
    assert outcome["delivered"]["event_type"] == "recording.uploaded"
    spoken = outcome["spoken"]
    assert spoken["word_error"] < 0.05
    assert spoken["speakers"] == ["SPEAKER_0"]
    assert spoken["failure"] is None
    understood = outcome["understood"]
    assert (understood["summary"]["model"], understood["summary"]["failure"]) == ("extractive", None)
    assert "He was not an ill-disposed young man" in understood["summary"]["overview"]
    assert understood["found"]["seconds"] == [0]
    answer = understood["answer"]
    # The reader says it between the 7th and the 13th second.
    place = re.search(r"He was not an ill-disposed young man.+?\[0:(\d\d)\]", answer["shown"])
    assert place
    assert 6 <= int(place[1]) <= 12
    assert int(place[1]) in [int(second) for second in answer["seconds"]]
    assert answer["model"] == "extractive"
    assert is_reachable(kept.base_url)


@pytest.mark.deep
@needs_curl
def test_the_main_job_in_the_readme_works_as_it_stands(kept: Kept, tmp_path: Path) -> None:
    block = MAIN_JOB.search((ROOT / "README.md").read_text())
    assert block
    (tmp_path / "src").symlink_to(ROOT / "src")
    port = urlsplit(kept.base_url).port
    said = kept.shell(f"export LAPEL_PORT={port}\n{block[1]}", tmp_path)
    assert said.splitlines() == ["uploaded", "what came back is what went in"]
    assert (tmp_path / "first-kibibyte").read_bytes() == speech().data[:1024]


@pytest.mark.deep
@needs_curl
def test_summary_search_and_answer_in_the_readme_work_as_they_stand(kept: Kept, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    first, then = MAIN_JOB.search(readme), UNDERSTANDING.search(readme)
    assert first
    assert then
    outcome = kept.told["outcome"]
    # The demo's recording has a transcript already.
    known = {
        "LAPEL_PORT": str(urlsplit(kept.base_url).port),
        "END_USER": outcome["end_user_id"],
        "RECORDING": outcome["recording_id"],
        "TRANSCRIPTION": outcome["spoken"]["transcription_id"],
    }
    begun = [line for line in first[1].splitlines() if line.startswith(BEGUN)]
    assert len(begun) == len(BEGUN)
    script = [*(f"export {name}={value}" for name, value in known.items()), *begun, then[1]]
    said = kept.shell("\n".join(script), tmp_path)
    parts = re.split(r"^(?=\{)|^(?=rec_)|^(?=And Mr|He was)", said, flags=re.MULTILINE)
    told = [json.loads(part) for part in parts if part.startswith("{")]
    summary, found, answer = told
    assert summary["status"] == "completed"
    assert summary["output"]["evidence"]["key_points"][0][0]["end_ms"] > 0
    assert found["results"][0]["recording_id"] == outcome["recording_id"]
    cited = [part for part in answer["message"]["parts"] if part["type"] == "citation"]
    assert 6_000 <= cited[-1]["start_ms"] <= 12_000
    assert re.search(rf"^{outcome['recording_id']}  0:\d\d", said, re.MULTILINE)  # lapel search
    assert re.search(r" \[00:\d\d\]\n\Z", said)  # lapel ask


# The last one: it asks for a transcript that nobody reads, and the end of the server stops that.
@needs_curl
def test_the_printed_lines_do_the_same_by_hand(kept: Kept, tmp_path: Path) -> None:
    lines = [line for step in kept.told["steps"] for line in step["commands"]]
    assert lines[0].startswith(
        "LAPEL_OUTBOUND_NETWORKS=127.0.0.0/8 LAPEL_LANGUAGE_MODEL=extractive lapel serve --data-dir"
    )
    # Done already, and not to be done twice: the server, the binding, the webhook for this URL, and uploading
    # what is uploaded.
    once = ("/bind", '/v1/webhooks"', "/upload-url")
    by_hand = [line for line in lines[1:] if not any(each in line for each in once)]
    assert len(by_hand) == len(lines) - 1 - len(once)
    said = kept.shell("\n".join(by_hand), tmp_path)
    assert '"status":"uploaded"' in said
    assert "lapel-demo.opus: OK" in said
    assert (tmp_path / "lapel-demo.opus").read_bytes() == speech().data
    assert (tmp_path / "lapel-demo.part").read_bytes() == speech().data[:1024]
    assert '"start_ms":' in said.splitlines()[-1]
