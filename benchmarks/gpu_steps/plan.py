"""The steps of the GPU check in their order, each with its limit in seconds, and a run of one in its own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_steps import correctness, machine, plugin_abi, programs, speed
from gpu_steps.context import Context
from gpu_steps.record import FAILED, NOT_RUN, Row, StepResult, read_rows

_LAST_WORDS = 300


def build(context: Context) -> Iterator[Row]:
    """Compiles; see gpu_steps.building, which is imported only where something is compiled."""
    from gpu_steps import building

    return building.run(context)


def engine(context: Context) -> Iterator[Row]:
    """Whole engines; see gpu_steps.engines, which needs more than PyTorch and says what is missing."""
    from gpu_steps import engines

    return engines.run(context)


@dataclass(frozen=True)
class Step:
    """What to run, and after how many seconds it is given up."""

    run: Callable[[Context], Iterator[Row]]
    limit_s: int
    needs: str = ""
    """The part of Context.build without which it cannot run."""


STEPS = {
    "machine": Step(machine.run, 60),
    "build": Step(build, 420),
    "golden": Step(programs.golden, 150, "golden"),
    "correctness": Step(correctness.run, 240, "library"),
    "sanitizer": Step(programs.sanitizer, 600),
    "plugin": Step(plugin_abi.run, 120, "driver"),
    "engine": Step(engine, 420, "library"),
    "speed": Step(speed.run, 300, "library"),
}


def run_step(name: str, context: Context, entry: Path) -> StepResult:
    """Runs a step in a process of its own and returns its rows, whatever became of it.

    Args:
        name: of STEPS.
        context: has been saved.
        entry: the program that runs one step when called with --run-step.
    """
    step, start = STEPS[name], time.perf_counter()
    if step.needs and not getattr(context.build, step.needs):
        return StepResult(name, 0.0, (Row(name, NOT_RUN, f"there is no {step.needs}: it was not built"),))
    target, log = context.path(f"{name}.json"), context.path(f"{name}.log")
    target.unlink(missing_ok=True)
    command = [sys.executable, str(entry), "--run-step", name, "--work", context.work]
    said = ""
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(timeout=step.limit_s)
            if code != 0:
                said = f"its process ended with exit code {code}"
        except subprocess.TimeoutExpired:
            said = f"not finished after {step.limit_s} s"
        finally:
            end_group(process)
    rows = read_rows(target)
    if said:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        rows.append(Row("the step itself", FAILED, f"{said}: {''.join(last)[:_LAST_WORDS]} (log: {log})"))
    elif not rows:
        rows.append(Row("the step itself", FAILED, f"it found nothing (log: {log})"))
    return StepResult(name, time.perf_counter() - start, tuple(rows))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started in a session of its own, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
