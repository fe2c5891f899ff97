"""Times the executions of the operator case by case, each checked against float64 before it may be timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone

import numpy as np
import torch

from ccdeploy import __version__
from ccdeploy.benchmark.operator.executions import DTYPES, EXECUTIONS, Prepare, Work
from ccdeploy.benchmark.operator.roof import measure_roof
from ccdeploy.benchmark.record import (
    DEVICE,
    HOST,
    NOT_RUN,
    RUN,
    Execution,
    Operator,
    OperatorCase,
    Record,
    Roof,
    SensorsUsed,
)
from ccdeploy.benchmark.running import installed_versions, turns_text
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.timing import Clock, Timed, in_turns, warm_up
from ccdeploy.errors import CcdeployError, first_line
from ccdeploy.machine import describe_machine
from ccdeploy.op.cases import DEPLOYED, KERNEL, SMALL, Case
from ccdeploy.op.work import flops, least_bytes

CASES: Mapping[str, Sequence[Case]] = {
    "one": DEPLOYED[:1],
    "small": SMALL,
    "deployed": DEPLOYED,
    "all": tuple(dict.fromkeys((*SMALL, *KERNEL, *DEPLOYED))),
}


def benchmark_operator(
    cases: str | None, dtype: str, settings: Settings, say: Callable[[str], None], command: str = ""
) -> Record:
    """A record of the bare operator over a table of CASES; see `measure_operator`.

    None takes what is done within two minutes: "deployed" on a GPU, "one" on a CPU.
    """
    table = CASES[cases or ("deployed" if torch.cuda.is_available() else "one")]
    operator = measure_operator(table, dtype, settings, say, time.perf_counter_ns)
    return Record(
        ccdeploy=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=describe_machine(),
        sensors=SensorsUsed("none", "", ("power, clocks: not read for the bare operator",)),
        settings=settings,
        order=turns_text(settings),
        operator=operator,
        versions=installed_versions(),
        command=command,
    )


def measure_operator(
    cases: Sequence[Case],
    dtype: str,
    settings: Settings,
    say: Callable[[str], None],
    clock: Clock,
    executions: Mapping[str, Prepare] = EXECUTIONS,
    roof_of: Callable[[str, bool, Clock], Roof] = measure_roof,
) -> Operator:
    """Every execution on every case, on the GPU if there is one, else on the CPU.

    Args:
        cases: of ccdeploy.op.cases.
        dtype: "fp32", "fp16" or "bf16".
        settings: seed, threads, block, warm-up, and duration_s: seconds an execution and case.
        say: told each step.
        clock: nanoseconds.
        executions: who takes part, by name.
        roof_of: measures the roof for a type, on the GPU or not.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.set_float32_matmul_precision("highest")  # no TF32: fp32 is fp32
    elif settings.threads is not None:
        torch.set_num_threads(settings.threads)
    say("measuring the roof: a copy, a matrix product")
    roof = roof_of(dtype, on_gpu, clock)
    results = []
    for case in cases:
        say(f"{case}, {dtype}")
        results.append(
            _measure_case(
                Work.of(case, dtype, on_gpu, settings.threads, settings.seed), settings, say, clock, executions
            )
        )
    device = torch.cuda.get_device_name() if on_gpu else "CPU"
    return Operator(device, settings.threads, roof, tuple(results))


def _measure_case(
    work: Work, settings: Settings, say: Callable[[str], None], clock: Clock, executions: Mapping[str, Prepare]
) -> OperatorCase:
    case, found = work.case, dict[str, Execution]()
    operations, moved = flops(case), least_bytes(case, DTYPES[work.dtype].itemsize)
    timed: list[Timed] = []
    errors: dict[str, float] = {}
    with ExitStack() as stack:
        for name, prepare in executions.items():
            say(f"  {name}")
            try:
                ready = prepare(work, stack)
                ready.runs.run()
                errors[name] = work.error_of(ready.result())
            except CcdeployError as error:
                found[name] = Execution(name, NOT_RUN, error.what.rstrip("."))
                continue
            except Exception as error:  # a compiler or an exporter may raise anything
                found[name] = Execution(name, NOT_RUN, f"{type(error).__name__}: {first_line(error)}")
                continue
            if errors[name] > (limit := work.limit_for(name)):
                reason = f"it is wrong by {errors[name]:.2g} (float64 is the measure, {limit:.2g} was allowed)"
                found[name] = Execution(name, NOT_RUN, reason, error=_finite(errors[name]))
                continue
            timed.append(Timed(name, ready.runs))
        for each in timed:
            warm_up(each, settings.warm_up_s, clock)
        in_turns(timed, settings, clock)
        for each in timed:
            found[each.name] = _execution(each, operations, moved, errors[each.name])
    shape = {
        "batch": case.batch,
        "channels": case.channels,
        "query_channels": case.query_channels,
        "height": case.height,
        "width": case.width,
    }
    ordered = tuple(found[name] for name in executions)
    return OperatorCase(str(case), shape, work.dtype, operations, moved, ordered)


def _execution(timed: Timed, operations: int, moved: int, error: float) -> Execution:
    if timed.failure:
        return Execution(timed.name, NOT_RUN, timed.failure)
    seconds = timed.seconds.get(DEVICE) or timed.seconds[HOST]
    p50, p90 = (float(value) for value in np.percentile(seconds, (50, 90)))
    rates = operations / p50 / 1e9, moved / p50 / 1e9
    return Execution(timed.name, RUN, "", 1e3 * p50, 1e3 * p90, *rates, runs=len(seconds), error=error)


def _finite(error: float) -> float | None:
    return error if np.isfinite(error) else None
