"""The steps that run programs: the golden tests of the primitives, and compute-sanitizer on small problems."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpu_steps.context import Context
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row

_GOLDEN_LIMIT_S = 120
_SANITIZER_LIMIT_S = 90
_SANITIZER_FOUND = 99
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def golden(context: Context) -> Iterator[Row]:
    """The golden tests: one row for each primitive."""
    if not context.build.golden:
        yield Row("golden", NOT_RUN, "the program was not built")
        return
    command = [context.build.golden, "--seed", str(context.seed % 2**32)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_GOLDEN_LIMIT_S)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        yield Row("golden", FAILED, f"exit code {done.returncode}, it said: {said[:300]}")
        return
    for name, test in document["tests"].items():
        yield golden_row(name, test)
    failed = any(test["ok"] is False for test in document["tests"].values())
    if done.returncode != (1 if failed else 0):
        yield Row("golden", FAILED, f"exit code {done.returncode} does not go with what it printed")


def golden_row(name: str, test: dict[str, object]) -> Row:
    """One test of the program's document as a row."""
    if test["ok"] is None:
        return Row(name, NOT_RUN, str(test["why"]))
    if test["ok"] is True:
        return Row(name, OK, f"{test['values']} values", test)
    if "failed" in test:
        return Row(name, FAILED, str(test["failed"]), test)
    said = f"{test['wrong']} of {test['values']} values are wrong; value {test['index']} is {test['seen']}, "
    return Row(name, DIFFERS, said + f"{test['expected']} was expected", test)


def sanitizer(context: Context) -> Iterator[Row]:
    """Each tool of compute-sanitizer on the small problems, and the two that fit on the golden tests."""
    found = find_sanitizer(context.nvcc)
    runs: list[tuple[str, str, Sequence[str]]] = [
        ("small problems", tool, [context.build.small_case]) for tool in SANITIZER_TOOLS if context.build.small_case
    ]
    if context.build.golden:  # a trap is what it looks for
        runs += [("golden tests", tool, [context.build.golden, "--without-trap"]) for tool in SANITIZER_TOOLS[:2]]
    if not found or not runs:
        why = "compute-sanitizer was not found" if not found else "the programs were not built"
        yield Row("compute-sanitizer", NOT_RUN, why)
        return
    for subject, tool, program in runs:
        log = context.path(f"{tool}-{Path(program[0]).name}.log")
        yield sanitize(found, f"{tool}: {subject}", tool, program, log)


def find_sanitizer(nvcc: str) -> str:
    """compute-sanitizer on the PATH or in the toolkit of nvcc; "" if there is none."""
    if found := shutil.which("compute-sanitizer"):
        return found
    if nvcc:
        root = Path(nvcc).resolve().parent.parent
        for path in (root / "bin" / "compute-sanitizer", root / "compute-sanitizer" / "compute-sanitizer"):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return ""


def sanitize(sanitizer_path: str, name: str, tool: str, program: Sequence[str], log: Path) -> Row:
    """One run of one tool; the whole report goes to `log`."""
    command = [sanitizer_path, "--tool", tool, "--error-exitcode", str(_SANITIZER_FOUND), *program]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SANITIZER_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return Row(name, FAILED, f"not finished after {_SANITIZER_LIMIT_S} s")
    log.write_text(done.stdout, encoding="utf-8")
    lines = [line.strip("= ") for line in done.stdout.splitlines() if line.startswith("=========")]
    told = next((line for line in reversed(lines) if "SUMMARY" in line), lines[-1] if lines else "no report")
    if done.returncode == 0:
        return Row(name, OK, told)
    status = DIFFERS if done.returncode == _SANITIZER_FOUND else FAILED
    first = next((line for line in lines if "Error" in line or "Invalid" in line or "hazard" in line), "")
    return Row(name, status, f"exit code {done.returncode}: {told} {first} (all of it: {log.name})")
