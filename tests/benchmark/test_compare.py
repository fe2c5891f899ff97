"""Pairs of turns: what drift and noise leave of a ratio, and which two are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from benchmark_fakes import Clock, FakePrepared, Law, noisy, steady
from benchmark_records import sample_record

from ccdeploy.benchmark.compare import check_comparable, compare_pairs, compare_records, pair_ratios
from ccdeploy.benchmark.figures import NO_DIFFERENCE
from ccdeploy.benchmark.record import DEVICE, HOST
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.timing import Timed
from ccdeploy.errors import UsageError


def two(clock: Clock, a: Law, b: Law) -> tuple[Timed, Timed]:
    """A and B on one clock."""
    return Timed("A", FakePrepared(clock, a)), Timed("B", FakePrepared(clock, b))


def weather(clock: Clock, seed: int) -> Law:
    """What a busy machine does to both: slow waves, and bursts that last for seconds."""
    generator = np.random.default_rng(seed)
    bursts = generator.random(4000) < 0.3

    def factor(time: float, number: int) -> float:
        return float(1 + 0.3 * np.sin(time / 7) + 1.5 * bursts[int(time / 2) % 4000])

    return factor


def under(sky: Law, law: Law) -> Law:
    """A contestant in that weather."""
    return lambda time, number: law(time, number) * sky(time, number)


def test_pairs_lie_side_by_side_and_their_order_alternates() -> None:
    clock = Clock()
    seen: list[str] = []

    def noted(name: str) -> Law:
        def law(time: float, number: int) -> float:
            seen.append(name)
            return 0.05

        return law

    pair_ratios(*two(clock, noted("A"), noted("B")), HOST, Settings(pairs=4), clock)
    turns = [name for name, before in zip(seen, ["", *seen[:-1]], strict=True) if name != before]
    assert "".join(turns) == "ABABA"  # A B, B A, A B, B A: two turns of one side by side look like one
    assert "".join(seen) == "AABBBBAAAABBBBAA"  # one run that is not timed, then one that is


@pytest.mark.parametrize("truth", [1.0, 1.1])
def test_the_ratio_is_found_through_drift_and_bursts(truth: float) -> None:
    inside = 0
    for seed in range(30):
        clock = Clock()
        sky, mine, other = weather(clock, seed), noisy(0.027, 0.05, seed), noisy(0.027 * truth, 0.05, 1000 + seed)
        pair = two(clock, under(sky, mine), under(sky, other))
        (found,) = compare_pairs(*pair, Settings(pairs=120, seed=seed), clock)
        assert found.ratio == pytest.approx(truth, abs=0.03)
        inside += found.low <= truth <= found.high
        assert found.pairs == len(found.ratios) == 120
        if truth != 1:
            assert found.verdict.startswith("A is ")
    assert inside >= 25  # of 30, 28.5 are expected


def test_without_pairs_the_same_weather_hides_the_truth() -> None:
    """What pairs are for: medians of two blocks, one after the other."""
    off = 0
    for seed in range(30):
        clock = Clock()
        sky = weather(clock, seed)
        medians = []
        for _ in range(2):
            prepared = FakePrepared(clock, under(sky, steady(0.027)))
            start = clock.now
            times = []
            for _ in range(120):
                prepared.run()
                times.append(clock.now - start)
                start = clock.now
            medians.append(np.median(times))
        off += abs(medians[1] / medians[0] - 1) > 0.03
    assert off > 20


def test_both_boundaries_are_compared_where_both_have_them() -> None:
    clock = Clock()
    a, b = Timed("A", FakePrepared(clock, steady(0.05), 0.5)), Timed("B", FakePrepared(clock, steady(0.05), 0.75))
    a.seconds[DEVICE], b.seconds[DEVICE] = [], []
    host, device = compare_pairs(a, b, Settings(pairs=5), clock)
    assert (host.boundary, host.ratio, host.verdict) == (HOST, pytest.approx(1.0), NO_DIFFERENCE)
    assert (device.boundary, device.ratio, device.verdict) == (DEVICE, pytest.approx(1.5), "A is 50.0 % faster")
    del b.seconds[DEVICE]
    assert [found.boundary for found in compare_pairs(a, b, Settings(pairs=5), clock)] == [HOST]


def test_there_is_no_comparison_where_one_fails_midway() -> None:
    clock = Clock()
    a, b = two(clock, steady(0.05), steady(0.05))
    b.runs.fails_at = 5  # type: ignore[attr-defined]
    assert compare_pairs(a, b, Settings(pairs=9), clock) == ()
    assert b.failure == "RuntimeError: the device is gone"
    assert a.failure == ""


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", "another", "their networks differ: ccnet_r18-d8_streets and another"),
        ("weights", "9" * 64, "their weights differ: "),
        ("recurrence", 3, "their numbers of criss-cross passes differ: 2 and 3"),
        ("io", "image", "their contracts differ: tensor and image"),
        ("input", (2, 3, 256, 512), "their input shapes differ: 1x3x256x512 and 2x3x256x512"),
        ("input_type", "uint8 NHWC", "their input types differ: float32 NCHW and uint8 NHWC"),
        ("threads", 2, "their numbers of threads differ: none stated and 2"),
        ("device", "another GPU", "their devices differ: NVIDIA Sample GPU and another GPU"),
    ],
)
def test_what_does_other_work_is_refused(field: str, value: Any, said: str) -> None:
    one = sample_record().contestants[1]
    other = dataclasses.replace(one, name="other", **{field: value})
    with pytest.raises(UsageError) as error:
        check_comparable(one, other)
    assert said in error.value.what
    assert error.value.what.startswith(f"{one.name} and other are not comparable: ")
    assert error.value.remedy.endswith(".")


def test_precision_kind_and_runtime_may_differ() -> None:
    one = sample_record().contestants[1]
    check_comparable(one, dataclasses.replace(one, precision="fp32", kind="pytorch", runtime="other", sha256="0"))


def test_a_file_without_manifest_is_refused() -> None:
    one = sample_record().contestants[1]
    with pytest.raises(UsageError, match=r"foreign\.onnx carries no manifest"):
        check_comparable(one, dataclasses.replace(one, name="foreign.onnx", model=""))


def test_two_records_are_compared_by_name_and_boundary_without_pairs() -> None:
    a, b = sample_record(0), sample_record(1)
    slower = dataclasses.replace(
        b.contestants[0].boundaries[0], samples_ms=tuple(1.2 * t for t in a.contestants[0].boundaries[0].samples_ms)
    )
    changed = dataclasses.replace(b.contestants[0], boundaries=(slower,))
    b = dataclasses.replace(b, contestants=(changed, *b.contestants[1:]))
    found = compare_records(a, b, ("a.json", "b.json"))
    assert [(each.a, each.boundary) for each in found] == [
        ("ccnet.fp32.onnx (a.json)", HOST),
        ("ccnet.int8.engine (a.json)", HOST),
        ("ccnet.int8.engine (a.json)", DEVICE),
        ("ccnet.fp16.engine (a.json)", HOST),
        ("ccnet.fp16.engine (a.json)", DEVICE),
    ]
    assert found[0].ratio == pytest.approx(1.2)
    assert found[0].verdict == "ccnet.fp32.onnx (a.json) is 20.0 % faster"
    assert "not paired" in found[0].method
    assert all(each.pairs == 0 and each.quartiles is None for each in found)


def test_records_of_one_contestant_each_may_have_other_names() -> None:
    a, b = sample_record(0), sample_record(1)
    a = dataclasses.replace(a, contestants=a.contestants[1:2])
    b = dataclasses.replace(b, contestants=(dataclasses.replace(b.contestants[1], name="new"),))
    assert compare_records(a, b)[0].b == "new (second)"


def test_records_that_do_not_go_together_are_refused() -> None:
    a, b = sample_record(0), sample_record(1)
    elsewhere = dataclasses.replace(b, machine=dataclasses.replace(b.machine, power_mode="90 W of 200 W"))
    with pytest.raises(UsageError, match="first and second are of different machines"):
        compare_records(a, elsewhere)
    other_turns = dataclasses.replace(b, settings=dataclasses.replace(b.settings, block=1))
    with pytest.raises(UsageError, match="in turns of 5 and 1 runs"):
        compare_records(a, other_turns)
    renamed = tuple(dataclasses.replace(each, name=f"{each.name}2") for each in b.contestants)
    with pytest.raises(UsageError, match="there is no contestant that both have"):
        compare_records(a, dataclasses.replace(b, contestants=renamed))
    other = dataclasses.replace(b.contestants[0], weights="other")
    with pytest.raises(UsageError, match="their weights differ: "):
        compare_records(a, dataclasses.replace(b, contestants=(other,)))
