"""Errors of the system and of our own, results for people and for programs, and progress on a terminal or not."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rich.console import Console

from ccdeploy.commands import COMMANDS, cli, console
from ccdeploy.commands.options import Size


@pytest.fixture
def failing_doctor(ccdeploy, monkeypatch):
    """Runs `ccdeploy doctor` with an error in it."""

    def run(error: BaseException, *options: str):
        def fail() -> None:
            raise error

        monkeypatch.setattr("ccdeploy.commands.doctor.examine", fail)
        return ccdeploy("doctor", *options)

    return run


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b.onnx"), 2, "/a/b.onnx: Permission denied."),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x.onnx"), 2, "x.onnx: File name too long."),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space is left on the device."),
        (MemoryError("Unable to allocate 9 TiB"), 2, "Not enough memory (Unable to allocate 9 TiB)."),
        (ZeroDivisionError("division by zero"), 70, "a defect of ccdeploy: ZeroDivisionError: division by zero"),
        (OSError("odd"), 70, "a defect of ccdeploy: OSError: odd"),
        (RecursionError("deep"), 70, "a defect of ccdeploy: RecursionError: deep"),
    ],
)
def test_every_error_is_two_lines_or_one_document(failing_doctor, error: Exception, code: int, what: str):
    ended = failing_doctor(error)
    assert (ended.code, ended.out) == (code, "")
    first, second = ended.err.splitlines()
    assert first == f"error: {what}"
    assert second.startswith("       ")
    ended = failing_doctor(error, "--json")
    assert ended.code == code
    assert json.loads(ended.out)["error"] == {"what": what, "remedy": second.strip(), "exit_code": code}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EOFError()])
def test_interruption_is_told_and_has_its_own_code(failing_doctor, error: BaseException):
    ended = failing_doctor(error)
    assert (ended.code, ended.out) == (130, "")
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err


def test_exit_inside_a_command_is_not_success(failing_doctor):
    """A user's module that calls sys.exit() must not make a verification look passed."""
    assert failing_doctor(SystemExit(0)).code == 141


def test_reader_that_left_gets_neither_true_nor_different():
    """0 would be "true" and 1 "different" of a verification whose end nobody saw."""
    for arguments in (["models"], ["models", "--json"], ["--help"], ["doctor"]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([sys.executable, "-m", "ccdeploy", *arguments], stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        assert done.returncode == 141, arguments
        assert done.stderr == b""


@pytest.mark.parametrize(
    "arguments", [["models", "a", "b", "--json"], ["verify", "--json"], ["doctor", "--no", "--json"]]
)
def test_wrong_usage_is_a_document_too(ccdeploy, arguments: list[str]):
    ended = ccdeploy(*arguments)
    error = json.loads(ended.out)["error"]
    assert ended.code == error["exit_code"] == 2
    assert error["what"]


def test_debug_prints_the_traceback_before_the_two_lines(failing_doctor):
    ended = failing_doctor(ZeroDivisionError("division by zero"), "--debug")
    assert ended.err.startswith("Traceback")
    assert ended.err.splitlines()[-2].startswith("error: a defect")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(ccdeploy, name: str):
    ended = ccdeploy(name, "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"Usage: ccdeploy {name}")
    command = cli.commands.get(name) or cli.get_command(click.Context(cli), name)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize(
    "text", ["5", "5x", "x5", "0x5", "5x0", "5X5", "-1x5", "16385x1", "99999x99999", "5x5x5", "1²x5", ""]
)
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(click.BadParameter, match="no size"):
        Size().convert(text, None, None)


def test_sizes_are_height_and_width():
    assert Size().convert("512x16384", None, None) == (512, 16384)


@pytest.mark.parametrize("seed", ["-1", str(2**63), "x"])
def test_seeds_that_no_generator_takes_are_refused(ccdeploy, tmp_path: Path, seed: str):
    ended = ccdeploy("export", "criss_cross_c512", "-o", tmp_path / "m.onnx", "--random-weights", seed)
    assert ended.code == 2
    assert "--random-weights" in ended.err


def test_tables_are_not_cut_where_there_is_no_terminal(capsys):
    long = "x" * 500
    console.print_table(("name", "text"), [("a", long), ("[b]", ":car: [red]")])
    out = capsys.readouterr().out
    assert long in out
    assert "[b]" in out
    assert ":car: [red]" in out


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    with console.progress() as say:
        say("left as it is: head: [1, 3] [/tmp] [bold]")
    captured = capsys.readouterr()
    assert captured.err == "left as it is: head: [1, 3] [/tmp] [bold]\n"
    assert captured.out == ""


def test_progress_on_a_terminal_shows_lines_as_they_are(monkeypatch):
    """Square brackets are not markup: paths and shapes hold them."""
    screen = io.StringIO()
    terminal = {"file": screen, "force_terminal": True, "width": 200}
    monkeypatch.setattr(console, "Console", lambda **options: Console(**{**options, **terminal}))
    lines = ["it does not run on a [batch, channels] tensor", "writing /tmp/[/a]/m.onnx", "[bold]:car:[/bold]", "end\\"]
    with console.progress() as say:
        for line in lines:
            say(line)
    for line in lines:
        assert screen.getvalue().count(line) >= 2, "once as a line, once as what is under way"


def test_a_terminal_gets_progress_and_the_result_stays_clean(tmp_path: Path):
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "ccdeploy", "verify", str(tmp_path / "absent.onnx"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, env={**os.environ, "TERM": "xterm"})
    os.close(child)
    shown = os.read(parent, 100000)
    os.close(parent)
    assert done.returncode == 2
    assert b"loading PyTorch" in shown
    assert "absent.onnx" in json.loads(done.stdout)["error"]["what"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (132_900_000, "132.9 MB"), (2.5e9, "2.50 GB")]
)
def test_sizes_of_files_are_for_people(count: float, text: str):
    assert console.size_text(count) == text
