"""The bare operator: its work, its executions checked before they are timed, and its roof."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from ccdeploy.benchmark.operator import executions as ex
from ccdeploy.benchmark.operator.measuring import CASES, measure_operator
from ccdeploy.benchmark.operator.roof import measure_roof
from ccdeploy.benchmark.record import NOT_RUN, RUN, Roof
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.summary import operator_lines
from ccdeploy.benchmark.timing import Clock
from ccdeploy.op.cases import DEPLOYED, SMALL, Case
from ccdeploy.op.work import bytes_a_pixel, flops, least_bytes

FAST = Settings(runs=3, warm_up_s=0.05, block=1)
ODD = Case(2, 24, 3, 5, 9)


def no_roof(dtype: str, on_gpu: bool, clock: Clock) -> Roof:
    """Measuring takes seconds, and has a test of its own."""
    return Roof(10.0, 40.0, "made up")


def test_the_work_is_what_docs_kernel_md_states() -> None:
    square = DEPLOYED[0]
    assert bytes_a_pixel(square, 2) == 3328
    assert round(least_bytes(square, 2) / 1e6) == 31
    assert round(flops(square) / 1e9, 2) == 2.10
    assert round(flops(DEPLOYED[2]) / 1e9, 1) == 14.5


def test_the_work_is_that_of_the_products_of_the_definition() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from ccdeploy.op.definition import criss_cross_attention

    qkv = torch.randn(ODD.batch, 2 * ODD.query_channels + ODD.channels, ODD.height, ODD.width)
    with FlopCounterMode(display=False) as counter:
        criss_cross_attention(qkv, torch.randn(ODD.batch, ODD.channels, ODD.height, ODD.width), ODD.query_channels)
    assert counter.get_total_flops() == flops(ODD)


@pytest.mark.parametrize("case", [SMALL[1], ODD, SMALL[4]], ids=str)
@pytest.mark.parametrize("name", [ex.EAGER, ex.WELL_KNOWN, ex.OURS_ONNX])
def test_every_execution_computes_the_operator(case: Case, name: str) -> None:
    work = ex.Work.of(case, "fp32", on_gpu=False, threads=1, seed=5)
    with ExitStack() as stack:
        ready = ex.EXECUTIONS[name](work, stack)
        ready.runs.run()
        assert work.error_of(ready.result()) < 1e-5


def test_the_well_known_module_is_exported_and_computes_it_too() -> None:
    work = ex.Work.of(ODD, "fp32", on_gpu=False, threads=1, seed=6)
    with ExitStack() as stack:
        ready = ex.EXECUTIONS[ex.WELL_KNOWN_ONNX](work, stack)
        ready.runs.run()
        assert work.error_of(ready.result()) < 1e-5


def test_what_is_wrong_is_not_timed_what_fails_is_named_and_the_rest_is_timed() -> None:
    def wrong(work: ex.Work, stack: ExitStack) -> ex.Ready:
        ready = ex.EXECUTIONS[ex.EAGER](work, stack)
        return dataclasses.replace(ready, result=lambda: ready.result() + np.float32(1e-3))

    def broken(work: ex.Work, stack: ExitStack) -> ex.Ready:
        raise RuntimeError("no compiler\nof any kind")

    def not_finite(work: ex.Work, stack: ExitStack) -> ex.Ready:
        ready = ex.EXECUTIONS[ex.EAGER](work, stack)
        return dataclasses.replace(ready, result=lambda: ready.result() * np.float32("nan"))

    contestants = {"wrong": wrong, "broken": broken, "nan": not_finite, ex.EAGER: ex.EXECUTIONS[ex.EAGER]}
    said: list[str] = []
    found = measure_operator([ODD], "fp32", FAST, said.append, time.perf_counter_ns, contestants, no_roof)
    (case,) = found.cases
    results = {each.name: each for each in case.executions}
    assert list(results) == list(contestants)
    assert results["wrong"].outcome == NOT_RUN
    assert results["wrong"].reason.startswith("it is wrong by 0.001 (float64 is the measure, 4e-05 was allowed)")
    assert results["broken"].reason == "RuntimeError: no compiler"
    assert results["nan"].reason.startswith("it is wrong by inf")
    assert results["nan"].error is None
    right = results[ex.EAGER]
    assert (right.outcome, right.runs) == (RUN, 3)
    assert right.p50_ms is not None
    assert right.gflop_s == pytest.approx(case.flops / right.p50_ms / 1e6)
    assert right.gb_s == pytest.approx(case.bytes / right.p50_ms / 1e6)
    assert (case.flops, case.bytes) == (flops(ODD), least_bytes(ODD, 4))
    assert case.shape == {"batch": 2, "channels": 24, "query_channels": 3, "height": 5, "width": 9}
    assert any("2x24x5x9-cq3" in line for line in operator_lines(found))


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_the_kernel_is_not_run_without_a_gpu_and_says_why() -> None:
    only = {ex.KERNEL: ex.EXECUTIONS[ex.KERNEL]}
    found = measure_operator([ODD], "fp32", FAST, lambda line: None, time.perf_counter_ns, only, no_roof)
    assert found.cases[0].executions[0].reason == "there is no GPU; the emulator tells nothing of speed"


def test_the_roof_is_bytes_and_operations_over_the_shortest_time() -> None:
    ticks = iter(range(0, 10**12, 10**9))  # every call of the clock is a second later: each run takes one
    roof = measure_roof("fp32", on_gpu=False, clock=lambda: next(ticks))
    assert roof.bandwidth_gb_s == pytest.approx(2 * 2**28 / 1e9)
    assert roof.gflop_s == pytest.approx(2 * 1536**3 / 1e9)
    assert "1536x1536 product, fp32" in roof.how


def test_tables_are_those_of_the_one_place() -> None:
    assert CASES["one"] == DEPLOYED[:1]
    assert CASES["deployed"] == DEPLOYED
    assert len(set(CASES["all"])) == len(CASES["all"])
    assert {*SMALL, *DEPLOYED} <= set(CASES["all"])
