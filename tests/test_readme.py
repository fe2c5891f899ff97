"""The README tells the truth: its session runs as it stands, and says what it shows."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ENGINES_RUN_ON_A_GPU = "ccdeploy verify ccnet.engine"
"""The one command whose words depend on the machine."""

PAGES_ABOUT_OTHER_PROGRAMS = ("plugin.md", "gpu-check.md", "streets.md", "triton.md", "fleet.md")
"""They name options of trtexec, of scripts and so on: only lines that run ccdeploy are looked at."""


def steps() -> list[tuple[str, list[str]]]:
    """Commands of the console blocks, each with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line)
    return found


def alike(line: str) -> str:
    """A line without what changes from machine to machine: numbers, digests, builds of PyTorch, where nvcc lies."""
    line = re.sub(r"\b[0-9a-f]{16,}\b", "#", re.sub(r"\(/[^)]*\)", "", line))
    return " ".join(re.sub(r"\d[\d.e+-]*", "#", re.sub(r"\+\w+", "", line)).split())


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="the session builds with TensorRT-RTX"
)
def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    session = steps()
    assert len(session) >= 4
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command, shown in session:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if not command.startswith(ENGINES_RUN_ON_A_GPU):
            printed = {alike(line) for line in done.stdout.splitlines()}
            missing = [line for line in shown if alike(line) not in printed]
            assert not missing, f"{command} printed\n{done.stdout}"


def test_the_two_commands_and_every_linked_page_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).is_file(), link


def test_every_command_line_option_that_the_pages_name_exists() -> None:
    from ccdeploy.commands import COMMANDS, cli

    known = {"--version", "--debug", "--help"}
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    lines = README.splitlines()
    for page in (ROOT / "docs").glob("*.md"):
        about_others = page.name in PAGES_ABOUT_OTHER_PROGRAMS
        lines += [
            line
            for line in page.read_text(encoding="utf-8").splitlines()
            if not about_others or re.search(r"\bccdeploy [a-z]", line)
        ]
    named = {option for line in lines for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line)}
    assert named - known == set()


def test_the_stated_tolerances_are_the_ones_in_force() -> None:
    from ccdeploy.commands.verify import command
    from ccdeploy.comparison import TOLERANCES

    pages = (command.help or "", (ROOT / "docs" / "verify.md").read_text(encoding="utf-8"))
    for page in pages:
        rows = re.findall(r"(fp32|fp16|bf16|int8|fp8)[ |]+(\d+e-\d+|0\.\d+)[ |]+([\d.]+) ?%", page)
        stated = {name: (float(relative), float(percent) / 100) for name, relative, percent in rows}
        assert stated == {name: (limit.relative_l2, pytest.approx(limit.labels)) for name, limit in TOLERANCES.items()}
