"""Everything that only a GPU can tell, in one command: is the kernel right on it, and how fast is it?

    make gpu-check        or        python benchmarks/gpu_check.py [--skip speed] [--output DIR]

Needs a GPU, PyTorch with CUDA, numpy, nvcc and a C++ compiler, and installs nothing; the step `engine` needs TensorRT,
pycuda and the rest of ccdeploy, and is "not run" without them. Steps, each in a process of its own, so that no failure
takes what was found before with it:

    machine      what the numbers depend on
    build        the library for this GPU, the same with every tile, the programs below; registers and spills
    golden       every function of primitives.cuh against the PTX manual
    correctness  the table of cases against float64: all types, layouts and tiles
    sanitizer    compute-sanitizer on small problems, where it is installed
    plugin       the TensorRT plugin's enqueue, called through its ABI
    engine       the network that ships, built with the plugin and run by the real runner, against PyTorch and itself
    speed        against the floor of memory traffic, and against the well-known PyTorch module

The result goes to benchmarks/results/<card>-<date>.json and .md. Exit codes: 0 everything that ran is as it must be;
1 something differs or failed; 2 wrong usage; 3 no GPU, or what it needs is missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_steps.report import Result

ROOT = Path(__file__).resolve().parent.parent
for _folder in (ROOT / "tools", ROOT / "benchmarks", ROOT):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

STEP_NAMES = ("machine", "build", "golden", "correctness", "sanitizer", "plugin", "engine", "speed")
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "gpu-check"
MISSING = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the steps; returns the exit code."""
    options = parsed(arguments)
    if options.run_step:
        return run_one(options.run_step, options.work)
    if lacking := what_is_missing(needs_gpu=options.use_build is None or not is_rehearsal(options.use_build)):
        for line in lacking:
            print(f"missing: {line}", file=sys.stderr)
        print("The GPU check was not run.", file=sys.stderr)
        return MISSING
    return run_all(options)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", action="append", default=[], choices=STEP_NAMES, help="leave a step out; repeatable")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for builds and logs")
    parser.add_argument("--seed", type=int, help="of the random operands; by default new ones every time")
    parser.add_argument("--use-build", type=Path, metavar="FILE", help="the build.json of an earlier run")
    parser.add_argument("--few", action="store_true", help="a few small cases only: no substitute for the whole table")
    parser.add_argument("--run-step", choices=STEP_NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.work = options.work.absolute()
    return options


def what_is_missing(needs_gpu: bool) -> list[str]:
    """What this machine lacks, one line each."""
    lacking = [
        f"the Python package {name}: use the Python that has it (make gpu-check PYTHON=...)"
        for name in ("torch", "numpy")
        if importlib.util.find_spec(name) is None
    ]
    if not needs_gpu or lacking:
        return lacking
    import torch

    from ccdeploy.errors import MissingError
    from ccdeploy.native.toolchain import find_cxx, find_nvcc

    if torch.version.cuda is None:
        lacking.append(f"a PyTorch with CUDA: torch {torch.__version__} is built without")
    elif not torch.cuda.is_available():
        lacking.append("an NVIDIA GPU that PyTorch can use: torch.cuda.is_available() is False (is there a driver?)")
    for find in (find_nvcc, find_cxx):
        try:
            find()
        except MissingError as error:
            lacking.append(f"{error.what} {error.remedy}")
    return lacking


def is_rehearsal(build: Path) -> bool:
    """Whether a build is an emulated one, which needs no GPU."""
    return bool(json.loads(build.read_text(encoding="utf-8")).get("device") == "cpu")


def run_one(name: str, work: Path) -> int:
    """One step, in this process; its rows go to the folder of the run."""
    from gpu_steps.context import load_context
    from gpu_steps.plan import STEPS
    from gpu_steps.record import Row, write_rows

    context = load_context(work)
    if name not in ("machine", "build", "golden", "sanitizer") and context.build.device == "cuda":
        import torch

        torch.cuda.init()  # type: ignore[no-untyped-call]

    def say(row: Row) -> None:
        print(f"{row.status}: {row.name}: {row.said}", flush=True)

    write_rows(STEPS[name].run(context), context.path(f"{name}.json"), say)
    return 0


def run_all(options: argparse.Namespace) -> int:
    """Every step that is not left out, then the report."""
    from gpu_steps.context import Build, Context, read_build
    from gpu_steps.plan import STEPS, run_step
    from gpu_steps.record import NOT_RUN, Row, StepResult
    from gpu_steps.report import Result, summary

    assert tuple(STEPS) == STEP_NAMES
    started, version = datetime.now(timezone.utc), commit()
    options.work.mkdir(parents=True, exist_ok=True)
    seed = options.seed if options.seed is not None else secrets.randbelow(2**31)
    build = read_build(options.use_build) if options.use_build else Build()
    context = Context(str(options.work), build, nvcc_path(), seed, options.few)
    steps: list[StepResult] = []
    card = "emulator" if build.device == "cpu" else card_name()
    print(f"GPU check on {card}, seed {seed}; logs in {options.work}", flush=True)
    for name in STEP_NAMES:
        if name in options.skip:
            steps.append(StepResult(name, 0.0, (Row(name, NOT_RUN, "left out by --skip"),)))
        elif name == "build" and options.use_build:
            steps.append(StepResult(name, 0.0, (Row(name, NOT_RUN, f"taken from {options.use_build}"),)))
        else:
            print(f"{name} ...", flush=True)
            context.save()
            steps.append(run_step(name, context, Path(__file__).resolve()))
            print(f"{name}: {steps[-1].status} after {steps[-1].seconds:.1f} s", flush=True)
            if name == "build" and context.path("build.json").exists():
                context = replace(context, build=read_build(context.path("build.json")))
        result = Result(card, started.isoformat(timespec="seconds"), version, seed, tuple(steps))
        save(result, options.output, started)  # after every step: whatever happens next, this stays
    print(summary(result))
    print(f"written: {options.output / file_name(result.card, started)}.json and .md")
    return result.exit_code


def save(result: Result, folder: Path, started: datetime) -> None:
    """Writes the JSON document and the page."""
    from gpu_steps.report import markdown

    folder.mkdir(parents=True, exist_ok=True)
    base = folder / file_name(result.card, started)
    texts = {".json": json.dumps(result.as_json(), indent=1) + "\n", ".md": markdown(result)}
    for suffix, text in texts.items():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as partial:
            partial.write(text)
        Path(partial.name).chmod(0o644)
        Path(partial.name).replace(base.with_name(base.name + suffix))


def file_name(card: str, started: datetime) -> str:
    """ "NVIDIA H100 80GB HBM3" on some day -> "nvidia-h100-80gb-hbm3-2025-06-30"."""
    return f"{re.sub(r'[^a-z0-9]+', '-', card.lower()).strip('-')}-{started:%Y-%m-%d}"


def card_name() -> str:
    """The GPU's name, asked in a process of its own: this one needs no memory of it."""
    code = "import torch; print(torch.cuda.get_device_name(0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return (done.stdout.strip().splitlines() or ["unknown"])[-1]


def nvcc_path() -> str:
    """nvcc, or "" where there is none."""
    from ccdeploy.errors import MissingError
    from ccdeploy.native.toolchain import find_nvcc

    try:
        return str(find_nvcc().path)
    except MissingError:
        return ""


def commit() -> str:
    """The commit of the checkout, and whether anything differs from it; "unknown" without git."""
    answers = []
    for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        if done.returncode != 0:
            return "unknown"
        answers.append(done.stdout.strip())
    return answers[0] + ("+changes" if answers[1] else "")


if __name__ == "__main__":
    sys.exit(main())
