"""Does the benchmark see what is there, and nothing else? The shipped network against itself, as it is and slowed.

On the CPU in onnxruntime, fp32, 256x512:
- twice, independently: the file against itself, each loaded anew. A ratio of 1.00 +- 0.03 is expected, and the verdict
  that no difference is seen.
- the file against itself with a planted slowdown: after each run the contestant waits busily for a tenth of what that
  very run took, so that it takes 1.10 times as long whatever else the machine does. An interval that excludes 1 and
  lies about 1.10 is expected.

    python benchmarks/benchmark_itself.py [--pairs N] [--threads N]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ccdeploy.benchmark.artefact import Artefact
from ccdeploy.benchmark.compare import compare_pairs
from ccdeploy.benchmark.figures import NO_DIFFERENCE
from ccdeploy.benchmark.record import HOST, Comparison
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.timing import Runs, Timed, warm_up
from ccdeploy.ccnet.loading import load_model
from ccdeploy.export import ExportOptions, export
from ccdeploy.machine import describe_machine

SLOWDOWN = 0.10
CLOSE = 0.03
"""How close to the truth a ratio must be."""


class Slowed:
    """A contestant that takes longer by a share of each run's own time."""

    def __init__(self, runs: Runs, share: float) -> None:
        self.runs, self.share = runs, share

    def run(self) -> None:
        """The run, then a wait that keeps the processor busy as work would."""
        start = time.perf_counter_ns()
        self.runs.run()
        end = time.perf_counter_ns()
        while time.perf_counter_ns() - end < self.share * (end - start):
            pass

    def run_on_device(self) -> None:
        """There is none on a CPU."""


def against_itself(file: Path, settings: Settings, slowdown: float = 0.0) -> Comparison:
    """Two loads of one file, the second slowed by a share of its time."""
    with ExitStack() as stack:
        contestants = []
        for name, share in (("as it is", 0.0), ("slowed" if slowdown else "again", slowdown)):
            artefact = Artefact(file, settings, name)
            prepared = stack.enter_context(stack.enter_context(artefact.open()).prepare(artefact.inputs()))
            timed = Timed(name, Slowed(prepared, share) if share else prepared)
            warm_up(timed, settings.warm_up_s)
            contestants.append(timed)
        (comparison,) = compare_pairs(contestants[0], contestants[1], settings)
    return comparison


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=Settings.pairs, help=f"pairs of turns (default {Settings.pairs})")
    parser.add_argument("--threads", type=int, help="of the CPU (default: onnxruntime's choice)")
    arguments = parser.parse_args()
    settings = Settings(pairs=arguments.pairs, threads=arguments.threads)
    settings.check()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ccnet.onnx"
        export(load_model("ccnet_r18-d8_streets"), file, ExportOptions())
        rows = [
            row("against itself", against_itself(file, settings), 1.0),
            row("against itself, once more", against_itself(file, settings), 1.0),
            row(f"slowed by {SLOWDOWN:.0%}", against_itself(file, settings, SLOWDOWN), 1 + SLOWDOWN),
        ]
    print(json.dumps({"machine": describe_machine().identity(), "rows": rows}, indent=2))
    return 0 if all(each["as expected"] for each in rows) else 1


def row(what: str, comparison: Comparison, truth: float) -> dict[str, object]:
    """The figures, and whether they are as expected."""
    assert comparison.boundary == HOST
    seen = comparison.verdict != NO_DIFFERENCE
    close = abs(comparison.ratio - truth) <= CLOSE and comparison.low - CLOSE <= truth <= comparison.high + CLOSE
    figures = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(comparison).items()
        if name in ("ratio", "low", "high", "pairs", "verdict")
    }
    return {"what": what, **figures, "as expected": close and seen == (truth != 1)}


if __name__ == "__main__":
    sys.exit(main())
